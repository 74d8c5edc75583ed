"""The job store against a plain Python model, driven by Hypothesis over a real Valkey.

Held after every step: the store agrees with the model on every job; attempts only rise; a terminal status is never
left; at most one attempt of a job commits; every job stands in exactly the indexes of its status, so none is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from darkroom.errors import ClaimHeld, JobNotCancellable
from darkroom.job_ids import new_job_id
from darkroom.job_store import Claim, Committed, IdempotencyKey, JobStore, Lease, Reaped, Tidied
from darkroom.jobs import SCHEMA, Job, JobStatus, Tier
from darkroom.redis_client import make_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import make_image, make_job, make_params
from tests.darkroom.passing_time import end_lease, pass_deadline, pass_not_before, pass_retention

S = JobStatus
MAX_ATTEMPTS, MAX_TRANSIENT = 6, 2
SHARED_DEATHS, STRIKES = 2, 3
TIERS = st.sampled_from([Tier.PREVIEW, Tier.STANDARD])
MODELS = st.sampled_from(["tiny", "big"])
ENDINGS = st.sampled_from([S.SUCCEEDED, S.SUCCEEDED, S.IN_REVIEW, S.FAILED, S.BLOCKED, S.CANCELLED, S.EXPIRED])


@dataclass
class Expected:
    """What the model knows of one job."""

    job: Job
    status: JobStatus
    has_deadline: bool = False
    attempt: int = 0
    lost: int = 0
    strikes: int = 0
    shared: int = 0
    struck_at: int | None = None  # the attempt of the last strike, while it may be taken back
    suspect: bool = False
    faults: int = 0
    cancel_requested: bool = False
    late: bool = False
    lease_over: bool = False
    waits: bool = False  # for its not-before time
    waited: bool = False  # that time has come
    old: bool = False
    committed_by: set[int] = field(default_factory=set)

    @property
    def in_line(self) -> bool:
        return self.status is S.QUEUED and not self.waits

    def end_or_requeue(self) -> None:
        self.lease_over = self.waits = self.waited = False
        if self.cancel_requested:
            self.status = S.CANCELLED
        elif self.late:
            self.status = S.EXPIRED
        else:
            self.status = S.QUEUED

    def die(self, *, alone: bool) -> None:
        self.lost += 1
        self.strikes, self.shared = self.strikes + alone, self.shared + (not alone)
        self.struck_at = self.attempt if alone else None
        stays = self.cancel_requested or self.late
        if (self.strikes >= STRIKES or self.lost >= MAX_ATTEMPTS) and not stays:
            self.status = S.FAILED
            return
        self.suspect = self.suspect or self.strikes > 0 or self.shared >= SHARED_DEATHS
        self.end_or_requeue()

    def holds(self, claim: Claim) -> bool:
        return self.status is S.RUNNING and self.attempt == claim.attempt

    def commit(self, claim: Claim, to: JobStatus) -> Committed:
        if self.holds(claim):
            if self.cancel_requested and to is not S.CANCELLED:
                self.status = S.CANCELLED
                return Committed.CANCELLED
            if self.late and to in {S.SUCCEEDED, S.IN_REVIEW}:
                self.status = S.EXPIRED
                return Committed.EXPIRED
            self.status = to
            self.committed_by.add(claim.attempt)
            return Committed.DONE
        if self.attempt != claim.attempt:
            return Committed.LOST
        if claim.attempt in self.committed_by:
            return Committed.DONE
        return {S.CANCELLED: Committed.CANCELLED, S.EXPIRED: Committed.EXPIRED}.get(self.status, Committed.LOST)


class JobMachine(RuleBasedStateMachine):
    """Random callers, workers, reapers and clocks."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.client = client
        self.store = JobStore(client, JobSettings(max_attempts=MAX_ATTEMPTS, max_transient=MAX_TRANSIENT))
        self.expected: dict[str, Expected] = {}  # in order of submission
        self.removed: set[str] = set()
        self.history: dict[str, tuple[int, JobStatus]] = {}
        self.at_death: int | None = None  # jobs the worker had when the first was taken from it; None while it lives
        self.draining: Tier | None = None

    # Callers

    @rule(target=jobs, tier=TIERS, model=MODELS, deadline=st.booleans(), newer=st.sampled_from([False] * 9 + [True]))
    def submit(self, tier: Tier, model: str, *, deadline: bool, newer: bool) -> str:
        job = make_job(tier=tier, params=make_params(model=model), schema=SCHEMA + newer)
        submitted = self.store.submit(
            job, idempotency=IdempotencyKey(job.id, "f"), deadline_seconds=3_600 if deadline else None
        )
        ahead = [e for e in self.expected.values() if e.in_line and not e.suspect and e.job.tier is tier]
        assert submitted.queue_position == len(ahead) + 1
        self.expected[job.id] = Expected(job, S.QUEUED, has_deadline=deadline)
        return job.id

    @rule(target=jobs)
    def submit_blocked(self) -> str:
        job = make_job(status=S.BLOCKED)
        self.store.submit(job)
        self.expected[job.id] = Expected(job, S.BLOCKED)
        return job.id

    @rule(job_id=jobs)
    def submit_again(self, job_id: str) -> None:
        expected = self.expected.get(job_id)
        if expected and expected.job.status is S.QUEUED:
            again = self.store.submit(make_job(), idempotency=IdempotencyKey(job_id, "f"))
            assert (again.replayed, again.job.id) == (True, job_id)

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        expected = self.expected.get(job_id)
        if expected is None:
            return
        if expected.status.is_terminal and expected.status is not S.CANCELLED:
            with pytest.raises(JobNotCancellable):
                self.store.cancel(job_id, owner="ada")
        else:
            self.store.cancel(job_id, owner="ada")
            expected.cancel_requested = True
            if expected.status is not S.RUNNING:
                expected.status = S.CANCELLED

    # Workers

    @rule(target=claims, tier=TIERS, models=st.none() | st.sets(MODELS), last=st.booleans(), repeated=st.booleans())
    def claim(self, tier: Tier, models: set[str] | None, *, last: bool, repeated: bool) -> Any:
        asked: dict[str, Any] = {
            "tier": tier, "worker": "w", "nonce": new_job_id(), "lease_seconds": 600, "models": models,
            "suspects_last": last,
        }  # fmt: skip
        try:
            claim = self.store.claim(**asked)
        except ClaimHeld:
            assert self._choose(tier, models, suspects_last=last) == "hold"
            return multiple()
        if repeated and claim:
            assert claim == self.store.claim(**asked)
        wanted = self._choose(tier, models, suspects_last=last)
        assert not isinstance(wanted, str), "the worker was to hold"
        assert (claim.job.id if claim else None) == (wanted.job.id if wanted else None)
        if claim is None or wanted is None:
            return multiple()
        wanted.status, wanted.attempt, wanted.lease_over = S.RUNNING, wanted.attempt + 1, False
        self.at_death = None
        assert claim.attempt == wanted.attempt
        return claim

    def _choose(self, tier: Tier, models: set[str] | None, *, suspects_last: bool) -> Expected | str | None:
        running = self._running()
        if (len(running) == 1 and running[0].suspect) or self.draining not in {None, tier}:
            return "hold"
        if suspects_last and (ready := self._next(tier, models, suspects=False)):
            return ready
        suspect = self._next(tier, models, suspects=True)
        self.draining = tier if suspect and running else None
        if suspect:
            return "hold" if running else suspect
        return None if suspects_last else self._next(tier, models, suspects=False)

    def _running(self) -> list[Expected]:
        return [expected for expected in self.expected.values() if expected.status is S.RUNNING]

    def _next(self, tier: Tier, models: set[str] | None, *, suspects: bool) -> Expected | None:
        line = [e for e in self.expected.values() if e.in_line and e.suspect is suspects and e.job.tier is tier]
        if suspects:
            return self._first_that_runs(line, models)
        heads = []
        for model in ("tiny", "big"):  # overdue jobs before the head of each model's lane are met, no others
            if models is None or model in models:
                lane = [expected for expected in line if expected.job.params.model == model]
                heads.append(self._first_that_runs(lane, models))
        return min((head for head in heads if head), key=line.index, default=None)

    def _first_that_runs(self, line: list[Expected], models: set[str] | None) -> Expected | None:
        for expected in line:
            if expected.late:
                expected.status = S.EXPIRED
            elif expected.job.schema == SCHEMA and (models is None or expected.job.params.model in models):
                return expected
        return None

    @rule(claims=st.lists(claims, max_size=5, unique_by=lambda claim: claim.job.id))
    def renew(self, claims: list[Claim]) -> None:
        wanted = {}
        for claim in claims:
            expected = self.expected.get(claim.job.id)
            if expected and expected.holds(claim):
                expected.lease_over, self.at_death = False, None
                wanted[claim.job.id] = Lease.CANCELLED if expected.cancel_requested else Lease.KEPT
            else:
                if expected and expected.struck_at == claim.attempt and not expected.status.is_terminal:
                    expected.strikes, expected.struck_at = expected.strikes - 1, None
                wanted[claim.job.id] = Lease.LOST
        assert self.store.renew(claims) == wanted

    @rule(claim=claims, step=st.integers(1, 25))
    def progress(self, claim: Claim, step: int) -> None:
        self.store.progress(claim, step=step, steps=25)

        expected = self.expected.get(claim.job.id)
        if expected and expected.holds(claim):
            assert self.store.get(claim.job.id, owner="ada").progress.step == step

    @rule(claim=claims, to=ENDINGS, repeated=st.booleans())
    def commit(self, claim: Claim, to: JobStatus, *, repeated: bool) -> None:
        expected = self.expected.get(claim.job.id)
        for _ in range(1 + repeated):
            wanted = expected.commit(claim, to) if expected else Committed.LOST
            assert self.store.commit(claim, status=to, images=[make_image()]) is wanted

    @rule(claim=claims, wait=st.booleans(), transient=st.booleans())
    def release(self, claim: Claim, *, wait: bool, transient: bool) -> None:
        self.store.release(claim, not_before_seconds=600 if wait else 0, transient=transient)
        expected = self.expected.get(claim.job.id)
        if expected is None or not expected.holds(claim):
            return
        faults = expected.faults + transient
        if faults > MAX_TRANSIENT and not expected.cancel_requested and not expected.late:
            expected.status = S.FAILED
            return
        expected.end_or_requeue()
        if expected.status is S.QUEUED:
            expected.faults, expected.waits = faults, wait

    # Time

    @rule(claim=claims)
    def lease_ends(self, claim: Claim) -> None:
        expected = self.expected.get(claim.job.id)
        if expected and expected.holds(claim):
            end_lease(self.client, claim.job)
            expected.lease_over = True

    @rule(job_id=jobs)
    def deadline_passes(self, job_id: str) -> None:
        expected = self.expected.get(job_id)
        if expected and expected.has_deadline and expected.status in {S.QUEUED, S.RUNNING}:
            pass_deadline(self.client, expected.job)
            expected.late = True

    @rule(job_id=jobs)
    def not_before_passes(self, job_id: str) -> None:
        expected = self.expected.get(job_id)
        if expected and expected.status is S.QUEUED and expected.waits:
            pass_not_before(self.client, expected.job)
            expected.waited = True

    @rule(job_id=jobs)
    def retention_passes(self, job_id: str) -> None:
        expected = self.expected.get(job_id)
        if expected and expected.status.is_terminal:
            pass_retention(self.client, expected.job)
            expected.old = True

    @rule()
    def reap(self) -> None:
        deleted: list[str] = []

        reaped, tidied = self.store.reap(), self.store.tidy(deleted.append)

        assert (reaped, tidied) == (self._reap(), self._tidy(swept=len(deleted)))
        assert set(deleted) <= self.removed

    def _reap(self) -> Reaped:
        ends: list[JobStatus] = []
        ready = 0
        for expected in self.expected.values():
            if expected.status is S.RUNNING and expected.lease_over:
                self.at_death = self.at_death or len(self._running())
                expected.die(alone=self.at_death == 1)
                ends.append(expected.status)
            if expected.status is S.QUEUED and expected.waited:
                expected.waits = expected.waited = False
                ready += 1
            if expected.status in {S.QUEUED, S.RUNNING} and expected.late:
                expected.status = S.CANCELLED if expected.cancel_requested else S.EXPIRED
                ends.append(expected.status)
        return Reaped(
            requeued=ends.count(S.QUEUED),
            failed=ends.count(S.FAILED),
            cancelled=ends.count(S.CANCELLED),
            expired=ends.count(S.EXPIRED),
            ready=ready,
        )

    def _tidy(self, *, swept: int) -> Tidied:
        gone = {job_id for job_id, expected in self.expected.items() if expected.old}
        self.removed |= gone
        for job_id in gone:
            del self.expected[job_id]
        return Tidied(removed=len(gone), swept=swept)

    # What always holds

    @invariant()
    def store_agrees_with_the_model(self) -> None:
        listed, cursor, first = [], None, True
        while first or cursor:
            page = self.store.list_jobs("ada", limit=100, cursor=cursor)
            listed, cursor, first = [*listed, *page.jobs], page.next_cursor, False
        assert [job.id for job in reversed(listed)] == list(self.expected), "a job was lost or doubled"
        for job in listed:
            expected = self.expected[job.id]
            assert (job.status, job.attempt) == (expected.status, expected.attempt)
            assert job.cancel_requested == expected.cancel_requested
            assert not job.images or expected.committed_by
            assert (job.finished_at is not None) == job.status.is_terminal

    @invariant()
    def attempts_rise_and_ends_are_final(self) -> None:
        for job_id, expected in self.expected.items():
            attempt, status = self.history.get(job_id, (0, expected.status))
            assert expected.attempt >= attempt
            assert expected.status is status or not status.is_terminal
            assert len(expected.committed_by) <= 1
            self.history[job_id] = (expected.attempt, expected.status)

    @invariant()
    def every_job_stands_in_the_indexes_of_its_status_only(self) -> None:
        wanted: dict[str, set[str]] = {}
        for job_id, expected in self.expected.items():
            for name in _indexes(expected):
                wanted.setdefault(name, set()).add(job_id)
        names = [f"darkroom:{kind}:{tier}" for kind in ("ready", "delayed", "suspects", "leases") for tier in Tier]
        names += ["darkroom:deadlines", "darkroom:ended", "darkroom:expiring"]
        found = {name: set(self.client.zrange(name, 0, -1)) for name in names}
        assert {name: ids for name, ids in found.items() if ids} == wanted
        waiting = {e.job.id for e in self.expected.values() if e.status is S.QUEUED}
        assert self.client.smembers("darkroom:waiting:ada") == waiting
        assert self.client.smembers("darkroom:running:ada") == {e.job.id for e in self._running()}
        for tier in Tier:
            line = wanted.get(f"darkroom:ready:{tier}", set())
            assert set(self.client.zrange(f"darkroom:line:{tier}:ada", 0, -1)) == line
            assert (self.client.zscore(f"darkroom:turns:{tier}", "ada") is not None) == bool(line)
            lanes = self.client.smembers(f"darkroom:lanes:{tier}:ada")
            stand = {i for lane in lanes for i in self.client.zrange(f"darkroom:lane:{tier}:{lane}:ada", 0, -1)}
            assert stand == line
        assert self.client.smembers("darkroom:own:w") == {expected.job.id for expected in self._running()}


def _indexes(expected: Expected) -> list[str]:
    tier = expected.job.tier
    if expected.status.is_terminal:
        return ["darkroom:ended", "darkroom:expiring"]
    if expected.status is S.IN_REVIEW:
        return []
    deadline = ["darkroom:deadlines"] if expected.has_deadline else []
    if expected.status is S.RUNNING:
        return [*deadline, f"darkroom:leases:{tier}"]
    place = "delayed" if expected.waits else "suspects" if expected.suspect else "ready"
    return [*deadline, f"darkroom:{place}:{tier}"]


@pytest.mark.slow
def test_store_agrees_with_its_model(redis_settings: RedisSettings) -> None:
    with make_redis(redis_settings) as client:
        run_state_machine_as_test(
            lambda: JobMachine(client),
            settings=settings(
                max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
        client.connection_pool.disconnect()
