"""Who is next: shares of owners, priority, age, what is warm, caps, pauses, and how far estimates come true."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import redis

from darkroom.errors import Overloaded, OwnerSuspended, QuotaExceeded
from darkroom.job_store import Claim, IdempotencyKey, JobStore
from darkroom.jobs import Job, JobStatus, Tier
from darkroom.owners import OwnerSettings
from darkroom.queue_control import QueueControl
from darkroom.settings import JobSettings
from tests.darkroom.factories import claim_next, make_job, make_params, run_one

S = JobStatus


def submit(store: JobStore, owner: str, *, terms: OwnerSettings | None = None, **changes: Any) -> Job:
    return store.submit(make_job(owner=owner, **changes), terms=terms or OwnerSettings()).job


def finish(store: JobStore, claim: Claim) -> None:
    store.commit(claim, status=S.SUCCEEDED)


def owners_served(store: JobStore, jobs: int) -> list[str]:
    """The owners of the next jobs, in the order of their starts."""
    claims = [run_one(store) for _ in range(jobs)]
    return [claim.job.owner for claim in claims]


# Shares


@pytest.mark.slow
def test_a_flood_delays_another_owner_by_no_more_than_their_share(store: JobStore) -> None:
    for _ in range(3_000):
        submit(store, "flood")
    for _ in range(100):
        finish(store, run_one(store))
    for _ in range(20):
        submit(store, "late")

    served = owners_served(store, 40)

    assert served.count("late") == 20


def test_owners_take_turns(store: JobStore) -> None:
    for owner in ("ada", "ada", "ada", "bob", "bob", "eve"):
        submit(store, owner)

    assert Counter(owners_served(store, 3)) == Counter(["ada", "bob", "eve"])


def test_a_dearer_job_takes_more_of_its_owners_share(store: JobStore) -> None:
    for _ in range(4):
        submit(store, "dear", params=make_params(num_images=3))
    for _ in range(12):
        submit(store, "cheap")

    assert Counter(owners_served(store, 12)) == Counter(cheap=9, dear=3)


def test_a_weight_multiplies_an_owners_share(store: JobStore) -> None:
    for _ in range(12):
        submit(store, "heavy", terms=OwnerSettings(weight=3))
        submit(store, "light")

    assert Counter(owners_served(store, 12)) == Counter(heavy=9, light=3)


def test_an_idle_owner_saves_no_turns_up(store: JobStore) -> None:
    submit(store, "rested")
    finish(store, run_one(store))
    for _ in range(20):
        submit(store, "busy")
    for _ in range(10):
        finish(store, run_one(store))
    for _ in range(10):
        submit(store, "rested")

    assert owners_served(store, 10).count("rested") <= 6


@pytest.mark.parametrize("what", ["owner", "model", "cap"])
def test_an_owner_who_was_held_back_saves_no_turns_up(store: JobStore, redis_client: redis.Redis, what: str) -> None:
    control, terms = QueueControl(redis_client), OwnerSettings(max_running=1 if what == "cap" else None)
    for _ in range(20):
        submit(store, "held", terms=terms, params=make_params(model="held"))
        submit(store, "busy")
    if what == "cap":
        blocking = run_one(store, models=["held"])
    elif what == "owner":
        control.suspend("held")
    else:
        control.pause(model="held")
    for _ in range(10):
        finish(store, run_one(store))
    if what == "cap":
        store.commit(blocking, status=S.FAILED)
    control.resume("held")
    control.unpause(model="held")

    served = []
    for _ in range(10):
        claim = run_one(store)
        served.append(claim.job.owner)
        finish(store, claim)

    assert 4 <= served.count("held") <= 6


def test_a_released_job_gets_its_charge_back_and_its_place(store: JobStore) -> None:
    first = submit(store, "ada")
    submit(store, "ada")
    submit(store, "bob")
    claim = run_one(store)
    assert claim.job.id == first.id
    store.release(claim)

    assert owners_served(store, 2) == ["ada", "bob"]


def test_turns_outlive_the_client(store: JobStore, redis_client: redis.Redis) -> None:
    for owner in ("ada", "ada", "bob"):
        submit(store, owner)
    run_one(store)

    assert run_one(JobStore(redis_client, JobSettings())).job.owner == "bob"


def test_jobs_that_an_older_release_queued_are_found(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit(store, "ada")
    redis_client.hdel(f"darkroom:job:{job.id}", "rank", "weight", "priority", "shape", "max_running")
    for key in redis_client.scan_iter("darkroom:*"):
        if key.split(":")[1] in {"line", "lane", "lanes", "turns", "backlog", "waiting"}:
            redis_client.delete(key)

    assert run_one(store).job.id == job.id


# Within an owner


def test_a_higher_priority_goes_first(store: JobStore) -> None:
    jobs = [submit(store, "ada", priority=priority) for priority in (0, -3, 5, 0)]

    claimed = [run_one(store).job.id for _ in jobs]

    assert claimed == [jobs[2].id, jobs[0].id, jobs[3].id, jobs[1].id]


def test_a_job_older_than_the_age_cap_is_not_overtaken_by_the_next_priority(redis_client: redis.Redis) -> None:
    store = JobStore(redis_client, JobSettings(age_cap_seconds=0.05))
    old = submit(store, "ada")
    time.sleep(0.1)
    submit(store, "ada", priority=1)

    assert run_one(store).job.id == old.id


# What is warm


def test_a_warm_model_goes_first_among_jobs_of_one_owner(store: JobStore) -> None:
    submit(store, "ada", params=make_params(model="cold"))
    warm = submit(store, "ada", params=make_params(model="warm"))

    assert run_one(store, warm=["warm"]).job.id == warm.id


def test_a_running_shape_goes_before_a_loaded_model(store: JobStore) -> None:
    submit(store, "ada", params=make_params(width=64))
    same = submit(store, "ada")

    assert run_one(store, warm=["tiny", "tiny@128x128"]).job.id == same.id


def test_a_warm_job_of_an_owner_whose_turn_is_near_goes_first(store: JobStore) -> None:
    submit(store, "ada", params=make_params(model="cold"))
    warm = submit(store, "bob", params=make_params(model="warm"))

    assert run_one(store, warm=["warm"]).job.id == warm.id


def test_warmth_moves_turns_by_one_job_at_most(store: JobStore) -> None:
    submit(store, "ada", params=make_params(model="cold"))
    for _ in range(10):
        submit(store, "bob", params=make_params(model="warm"))

    served = [run_one(store, warm=["warm"]).job.owner for _ in range(4)]

    assert "ada" in served


def test_an_old_job_is_not_overtaken_for_warmth(redis_client: redis.Redis) -> None:
    store = JobStore(redis_client, JobSettings(age_cap_seconds=0.05))
    cold = submit(store, "ada", params=make_params(model="cold"))
    time.sleep(0.1)
    submit(store, "ada", params=make_params(model="warm"))

    assert run_one(store, warm=["warm"]).job.id == cold.id


@pytest.mark.parametrize("warm", [["other"], ["tiny", "tiny@8x8"]])
def test_warmth_is_looked_for_in_few_records(store: JobStore, redis_client: redis.Redis, warm: list[str]) -> None:
    for number in range(200):
        submit(store, f"owner{number % 20}")
    redis_client.config_resetstat()

    run_one(store, warm=warm)

    assert redis_client.info("commandstats")["cmdstat_hgetall"]["calls"] < 60


def test_a_higher_priority_goes_before_warmth(store: JobStore) -> None:
    submit(store, "ada", params=make_params(model="warm"))
    urgent = submit(store, "ada", params=make_params(model="cold"), priority=1)

    assert run_one(store, warm=["warm"]).job.id == urgent.id


# Caps


def refused_for(error: QuotaExceeded | Overloaded) -> tuple[str, int, int]:
    assert error.retry_seconds >= 1
    return error.allowance.policy, error.allowance.quota, error.allowance.remaining


def test_more_jobs_than_may_wait_are_refused_and_not_stored(store: JobStore) -> None:
    terms = OwnerSettings(max_queued=2)
    for _ in range(2):
        submit(store, "ada", terms=terms)

    with pytest.raises(QuotaExceeded) as caught:
        submit(store, "ada", terms=terms)

    assert refused_for(caught.value) == ("queued", 2, 0)
    assert len(store.list_jobs("ada").jobs) == 2
    submit(store, "bob", terms=terms)
    run_one(store)
    submit(store, "ada", terms=terms)


def test_a_repeated_call_is_answered_although_the_cap_is_reached(store: JobStore) -> None:
    terms, key = OwnerSettings(max_queued=1), IdempotencyKey("k", "f")
    first = store.submit(make_job(), idempotency=key, terms=terms)

    assert store.submit(make_job(), idempotency=key, terms=terms).job.id == first.job.id


def test_the_service_takes_no_more_than_may_wait_in_all(redis_client: redis.Redis) -> None:
    store = JobStore(redis_client, JobSettings(max_queued=2))
    submit(store, "ada")
    submit(store, "bob", tier=Tier.PREVIEW)

    with pytest.raises(Overloaded) as caught:
        submit(store, "eve")

    assert refused_for(caught.value) == ("overloaded", 2, 0)


def test_cost_per_minute_is_held(store: JobStore) -> None:
    one = 128 * 128 * 25 / 1e6
    terms = OwnerSettings(cost_per_minute=one * 3)
    for _ in range(3):
        submit(store, "ada", terms=terms)

    with pytest.raises(QuotaExceeded) as caught:
        submit(store, "ada", terms=terms)

    assert caught.value.allowance.policy == "cost"
    assert caught.value.allowance.window == 60
    assert 15 <= caught.value.retry_seconds <= 20


def test_a_job_dearer_than_a_minute_passes_when_nothing_is_owed(store: JobStore) -> None:
    terms = OwnerSettings(cost_per_minute=0.1)
    submit(store, "ada", terms=terms)

    with pytest.raises(QuotaExceeded):
        submit(store, "ada", terms=terms)


def test_no_more_jobs_of_an_owner_run_than_may(store: JobStore) -> None:
    terms = OwnerSettings(max_running=1)
    submit(store, "ada", terms=terms)
    second = submit(store, "ada", terms=terms)
    claim = run_one(store)

    assert claim_next(store) is None
    finish(store, claim)
    assert run_one(store).job.id == second.id


# Pauses


def test_a_suspended_owner_waits_and_is_refused_until_resumed(store: JobStore, redis_client: redis.Redis) -> None:
    control = QueueControl(redis_client)
    job = submit(store, "ada")
    control.suspend("ada")

    assert claim_next(store) is None
    assert store.claimable(Tier.STANDARD) == 0
    with pytest.raises(OwnerSuspended):
        submit(store, "ada")
    assert control.suspended() == {"ada"}

    control.resume("ada")
    assert store.claimable(Tier.STANDARD) == 1
    assert run_one(store).job.id == job.id


@pytest.mark.parametrize("what", [{"tier": Tier.STANDARD}, {"model": "tiny"}])
def test_jobs_of_what_is_paused_stay_queued(store: JobStore, redis_client: redis.Redis, what: dict[str, Any]) -> None:
    control = QueueControl(redis_client)
    control.pause(**what)
    job = submit(store, "ada")

    assert claim_next(store) is None
    control.unpause(**what)
    assert run_one(store).job.id == job.id


def test_a_paused_tier_asks_for_no_tickets(store: JobStore, redis_client: redis.Redis) -> None:
    submit(store, "ada")
    control = QueueControl(redis_client)
    control.pause(tier=Tier.STANDARD)

    assert store.claimable(Tier.STANDARD) == 0
    control.unpause(tier=Tier.STANDARD)
    assert store.claimable(Tier.STANDARD) == 1


def test_a_paused_model_holds_no_other_up(store: JobStore, redis_client: redis.Redis) -> None:
    QueueControl(redis_client).pause(model="paused")
    for _ in range(1_200):
        submit(store, "ada", params=make_params(model="paused"))
    other = submit(store, "ada")

    assert run_one(store).job.id == other.id


# Estimates


def test_places_come_true_with_several_owners(store: JobStore) -> None:
    jobs = [submit(store, "flood") for _ in range(30)]
    run_one(store)
    jobs = jobs[1:] + [submit(store, owner) for owner in ("ada", "bob", "ada", "bob", "ada")]
    places = {job.id: state.position for job in jobs if (state := store.queue_state(job.id))}

    order = [run_one(store).job.id for _ in jobs]

    off = [abs(places[job_id] - started) for started, job_id in enumerate(order, 1)]
    assert max(off) <= 2, "no more than the owners that share a turn"


def test_waits_come_true_with_several_owners(store: JobStore, redis_client: redis.Redis) -> None:
    seconds = 10.0
    cost = 128 * 128 * 25
    redis_client.hset("darkroom:rates", mapping={"standard": seconds, "standard:tiny": seconds / cost})
    jobs = [submit(store, "flood") for _ in range(20)] + [submit(store, "ada") for _ in range(5)]
    estimates = {job.id: state.eta_seconds for job in jobs if (state := store.queue_state(job.id))}

    ends = {run_one(store).job.id: seconds * place for place in range(1, len(jobs) + 1)}  # one job runs at a time

    for job_id, end in ends.items():
        assert estimates[job_id] == pytest.approx(end, abs=seconds)


# Nothing is left behind


def test_nothing_of_the_lines_is_left_when_all_has_ended(store: JobStore, redis_client: redis.Redis) -> None:
    for owner in ("ada", "bob"):
        submit(store, owner)
        store.cancel(submit(store, owner).id, owner=owner)
    for _ in range(2):
        finish(store, run_one(store))

    left = {key.split(":")[1] for key in redis_client.scan_iter("darkroom:*")}

    assert not left & {"line", "lane", "lanes", "turns", "backlog", "waiting", "running", "ready"}
