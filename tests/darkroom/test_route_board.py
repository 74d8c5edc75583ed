"""What routed jobs leave behind in Redis: counts, ratings, roll-backs, withdrawals, shadow runs that come last."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from darkroom.errors import JobGone, JobNotFound, JobNotRateable
from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobError, JobStatus, Tier
from darkroom.owners import OwnerSettings
from darkroom.redis_client import make_redis
from darkroom.route_board import RouteBoard
from darkroom.routing import AliasSpec, ArmCounts, Canary, Variant, least_likely_rate
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import claim_next, make_image, make_job, make_params, read_job, run_one, submit_job
from tests.darkroom.passing_time import end_lease

S = JobStatus
SHADOW_OWNER = "@shadow"
ALIAS = AliasSpec(
    name="best",
    variants=(Variant(model="old", weight=3), Variant(model="new")),
    canary=Canary(model="new", min_jobs=10, max_errors=0.1, max_blocks=0.1),
)


@pytest.fixture
def board(redis_client: redis.Redis) -> RouteBoard:
    return RouteBoard(redis_client, look_seconds=0)


def submit_to(store: JobStore, model: str, **changes: Any) -> Job:
    return submit_job(store, params=make_params(model=model), route=ALIAS.route, **changes)


def end(store: JobStore, status: JobStatus) -> None:
    error = JobError("generation_failed", "It failed.") if status is S.FAILED else None
    images = [make_image()] if status is S.SUCCEEDED else []
    store.commit(run_one(store), status=status, images=images, error=error)


def test_ends_of_routed_jobs_are_counted_by_model_and_others_are_not(store: JobStore, board: RouteBoard) -> None:
    for status in (S.SUCCEEDED, S.SUCCEEDED, S.FAILED, S.BLOCKED, S.IN_REVIEW, S.CANCELLED):
        submit_to(store, "new")
        end(store, status)
    submit_job(store, params=make_params(model="new"))
    end(store, S.SUCCEEDED)
    submit_to(store, "old", status=S.BLOCKED)  # its prompt: no model's doing

    counts = board.counts(ALIAS.route)

    assert set(counts) == {"new"}
    found = counts["new"]
    assert (found.succeeded, found.failed, found.blocked, found.in_review) == (2, 1, 1, 1)
    assert found.mean_seconds is not None
    assert 0 < found.mean_seconds < 5


def test_the_same_commit_twice_counts_once(store: JobStore, board: RouteBoard) -> None:
    submit_to(store, "new")
    claim = run_one(store)
    for _ in range(2):
        store.commit(claim, status=S.FAILED, error=JobError("generation_failed", "It failed."))

    assert board.counts(ALIAS.route)["new"].ended == 1


def test_a_model_that_kills_its_workers_fails_jobs_of_its_route(
    store: JobStore, board: RouteBoard, redis_client: redis.Redis
) -> None:
    job = submit_to(store, "new")
    for _ in range(3):
        run_one(store)
        end_lease(redis_client, job)
        store.reap()

    assert read_job(store, job).status is S.FAILED
    assert board.counts(ALIAS.route)["new"].failed == 1


def test_a_canary_whose_jobs_fail_is_taken_out_once_and_comes_back_with_new_counts(
    store: JobStore, board: RouteBoard
) -> None:
    for number in range(12):
        submit_to(store, "old")
        end(store, S.SUCCEEDED)
        submit_to(store, "new")
        end(store, S.FAILED if number % 2 else S.SUCCEEDED)
        if number == 8:
            assert board.watch([ALIAS]) == []  # too few to say

    assert board.watch([ALIAS]) == [(ALIAS, "errors")]
    assert board.watch([ALIAS]) == []
    assert board.out_of(ALIAS) == {"new"}
    assert {ALIAS.arm(owner=f"o{n}", job="", out=board.out_of(ALIAS)) for n in range(50)} == {"old"}
    assert board.restore(ALIAS)
    assert board.out_of(ALIAS) == frozenset()
    assert board.counts(ALIAS.route) == {}
    assert not board.restore(ALIAS)


def test_only_one_process_at_a_time_holds_the_watch(board: RouteBoard, redis_client: redis.Redis) -> None:
    assert [board.holds_watch(60), RouteBoard(redis_client).holds_watch(60)] == [True, False]


def test_a_board_goes_on_with_what_it_heard_while_redis_is_away(board: RouteBoard, redis_client: redis.Redis) -> None:
    board.take_out(ALIAS, "errors")
    assert board.out_of(ALIAS) == {"new"}
    board._redis = make_redis(RedisSettings(redis_url="redis://127.0.0.1:1/0", redis_timeout_seconds=0.1))

    assert board.out_of(ALIAS) == {"new"}


def test_a_rating_counts_once_a_job_and_may_change(store: JobStore, board: RouteBoard) -> None:
    job = submit_to(store, "new")
    end(store, S.SUCCEEDED)

    ratings = [store.rate(job.id, rating, owner="ada").rating for rating in (2, 2, 5)]

    assert ratings == [2, 2, 5]
    assert read_job(store, job).rating == 5
    counts = board.counts(ALIAS.route)["new"]
    assert (counts.ratings, counts.rating_sum, counts.mean_rating) == (1, 5, 5.0)


def test_only_its_owner_rates_a_job_and_only_one_that_succeeded(store: JobStore, board: RouteBoard) -> None:
    job = submit_to(store, "new")
    with pytest.raises(JobNotRateable):
        store.rate(job.id, 5, owner="ada")
    end(store, S.SUCCEEDED)
    with pytest.raises(JobNotFound):
        store.rate(job.id, 5, owner="eve")
    store.delete(job.id, owner="ada")
    with pytest.raises(JobGone):
        store.rate(job.id, 5, owner="ada")

    assert board.counts(ALIAS.route)["new"].ratings == 0


def test_jobs_of_a_withdrawn_model_fail_and_others_go_on(store: JobStore) -> None:
    gone = [submit_to(store, "new", owner=owner) for owner in ("ada", "eve")]
    gone.append(submit_to(store, "new", tier=Tier.QUALITY))
    stays = submit_to(store, "old")
    runs = submit_to(store, "new", owner="bob", tier=Tier.PREVIEW)
    run_one(store, tier=Tier.PREVIEW)

    assert store.withdraw(["new", "unheard-of"]) == 3
    assert store.withdraw(["new"]) == 0

    for job in gone:
        ended = read_job(store, job)
        assert (ended.status, ended.error and ended.error.code) == (S.FAILED, "model_withdrawn")
    assert read_job(store, stays).status is S.QUEUED
    assert read_job(store, runs).status is S.RUNNING


def test_a_withdrawal_is_not_the_models_error(store: JobStore, board: RouteBoard) -> None:
    submit_to(store, "new")

    store.withdraw(["new"])

    assert board.counts(ALIAS.route) == {}


def test_shadow_runs_come_after_everything_else_and_move_nobodys_turn(store: JobStore) -> None:
    shadows = [submit_to(store, "new", owner=SHADOW_OWNER, shadow=True) for _ in range(3)]
    jobs = [submit_job(store, owner=owner) for owner in ("ada", "eve") for _ in range(3)]

    order = [run_one(store).job.id for _ in range(9)]

    assert set(order[:6]) == {job.id for job in jobs}
    assert order[6:] == [job.id for job in shadows]
    late = submit_job(store, owner="bob")
    submit_job(store, owner="ada")
    assert run_one(store).job.id == late.id


def test_shadow_runs_do_not_count_in_the_place_of_others(store: JobStore) -> None:
    submit_to(store, "new", owner=SHADOW_OWNER, shadow=True)

    submitted = store.submit(make_job())

    assert submitted.queue_position == 1


def test_shadow_runs_keep_to_their_own_cap(store: JobStore) -> None:
    terms = OwnerSettings(max_running=1)
    for _ in range(2):
        job = make_job(owner=SHADOW_OWNER, shadow=True, params=make_params(model="new"), route=ALIAS.route)
        store.submit(job, terms=terms)

    assert run_one(store).job.shadow
    assert claim_next(store) is None


def test_shadow_runs_have_counts_of_their_own(store: JobStore, board: RouteBoard) -> None:
    submit_to(store, "new", owner=SHADOW_OWNER, shadow=True)
    end(store, S.FAILED)

    assert board.counts(ALIAS.route) == {"new+shadow": ArmCounts(failed=1)}
    assert board.watch([ALIAS]) == []


def test_a_claim_without_suspects_leaves_them_to_others(store: JobStore, redis_client: redis.Redis) -> None:
    suspect = submit_job(store)
    run_one(store)
    end_lease(redis_client, suspect)
    store.reap()

    assert claim_next(store, suspects=False) is None
    assert run_one(store).job.id == suspect.id


class RouteMachine(RuleBasedStateMachine):
    """Random ends, ratings and looks against plain sums: the board agrees, and only a bad canary goes."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.store = JobStore(client, JobSettings())
        self.board = RouteBoard(client, look_seconds=0)
        self.ends: dict[str, list[JobStatus]] = {"old": [], "new": []}
        self.done: list[tuple[Job, str]] = []
        self.ratings: dict[str, tuple[str, int]] = {}
        self.out = False

    @rule(owner=st.integers(0, 200), status=st.sampled_from([S.SUCCEEDED, S.SUCCEEDED, S.FAILED, S.BLOCKED]))
    def work(self, owner: int, status: JobStatus) -> None:
        for number in range(3):
            model = ALIAS.arm(owner=f"o{owner + number}", job="", out=self.board.out_of(ALIAS))
            assert not (self.out and model == "new")
            job = submit_to(self.store, model, owner=f"o{owner + number}")
            end(self.store, status)
            self.ends[model].append(status)
            if status is S.SUCCEEDED:
                self.done.append((job, model))

    @rule(which=st.integers(0, 1_000), rating=st.integers(1, 5))
    def rate(self, which: int, rating: int) -> None:
        if self.done:
            job, model = self.done[which % len(self.done)]
            self.store.rate(job.id, rating, owner=job.owner)
            self.ratings[job.id] = (model, rating)

    @rule()
    def look(self) -> None:
        gone = self.board.watch([ALIAS])
        if self.out:
            assert gone == []
        elif gone:
            ends = self.ends["new"]
            rates = [least_likely_rate(ends.count(bad), len(ends)) for bad in (S.FAILED, S.BLOCKED)]
            assert len(ends) >= 10
            assert max(rates) > 0.1
            self.out = True

    @invariant()
    def the_board_agrees(self) -> None:
        found = self.board.counts(ALIAS.route)
        for model, ends in self.ends.items():
            counts = found.get(model, ArmCounts())
            assert (counts.succeeded, counts.failed, counts.blocked) == tuple(
                ends.count(status) for status in (S.SUCCEEDED, S.FAILED, S.BLOCKED)
            )
            given = [rating for rated, rating in self.ratings.values() if rated == model]
            assert (counts.ratings, counts.rating_sum) == (len(given), sum(given))


def test_the_board_agrees_with_plain_sums_whatever_happens(redis_client: redis.Redis) -> None:
    run_state_machine_as_test(
        lambda: RouteMachine(redis_client),
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
