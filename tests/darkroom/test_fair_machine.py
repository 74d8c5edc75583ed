"""The fair queue under random owners, workers and operators, driven by Hypothesis over a real Valkey.

Held at every claim: what may start does start; nothing starts that is suspended, paused or over a cap; an owner's own
order is kept. Held after every step: each waiting job stands in the lines of its owner once, and nothing else does.
"""

from __future__ import annotations

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from darkroom.job_store import Claim, JobStore
from darkroom.jobs import Job, JobStatus, Tier
from darkroom.owners import OwnerSettings
from darkroom.queue_control import QueueControl
from darkroom.redis_client import make_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import claim_next, make_job, make_params

OWNERS, MODELS = ("ada", "bob", "eve"), ("tiny", "big")
MAX_RUNNING = {"ada": None, "bob": 1, "eve": 2}
TIER = Tier.STANDARD
UNIT = 1e6
STEP_PIXELS = 128 * 128 * 25


class FairMachine(RuleBasedStateMachine):
    """Random submissions, claims, endings and pauses."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.client = client
        self.store = JobStore(client, JobSettings())
        self.control = QueueControl(client)
        self.waiting: dict[str, Job] = {}  # in order of submission
        self.running: dict[str, Job] = {}
        self.weights: dict[str, float] = {}
        self.suspended: set[str] = set()
        self.paused: set[str] = set()

    @rule(
        target=jobs,
        owner=st.sampled_from(OWNERS),
        model=st.sampled_from(MODELS),
        images=st.integers(1, 3),
        priority=st.sampled_from([0, 0, 5, -5]),
        weight=st.sampled_from([1.0, 3.0]),
    )
    def submit(self, owner: str, model: str, *, images: int, priority: int, weight: float) -> Job:
        self.resume_owner(owner)
        params = make_params(model=model, num_images=images)
        terms = OwnerSettings(weight=weight, max_running=MAX_RUNNING[owner])
        job = self.store.submit(make_job(owner=owner, params=params, priority=priority), terms=terms).job
        self.waiting[job.id], self.weights[job.id] = job, weight
        return job

    @rule(target=claims, models=st.none() | st.sampled_from([{"tiny"}, {"big"}]), warm=st.sets(st.sampled_from(MODELS)))
    def claim(self, models: set[str] | None, warm: set[str]) -> Claim:
        may_start = {job.id: job for job in self.waiting.values() if self._may_start(job, models)}
        claim = claim_next(self.store, models=models, warm=warm)
        assert (claim is not None) == bool(may_start), (
            "a job that may start was passed over, or one that may not started"
        )
        if claim is None:
            return multiple()
        job = may_start[claim.job.id]
        own = [other for other in may_start.values() if other.owner == job.owner]
        assert job.priority == max(other.priority for other in own)
        if not warm:
            assert job.id == max(own, key=lambda other: other.priority).id, "not the oldest of its priority"
        self.running[job.id] = self.waiting.pop(job.id)
        return claim

    def _may_start(self, job: Job, models: set[str] | None) -> bool:
        most = MAX_RUNNING[job.owner]
        at_cap = most is not None and sum(other.owner == job.owner for other in self.running.values()) >= most
        runs_here = models is None or job.params.model in models
        return runs_here and not at_cap and job.owner not in self.suspended and job.params.model not in self.paused

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        self.store.commit(claim, status=JobStatus.FAILED)
        self._drop(claim)

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        self.store.release(claim)
        job = self._drop(claim)
        if job:
            queue = sorted([*self.waiting.values(), job], key=lambda each: each.created_at)
            self.waiting = {each.id: each for each in queue}

    def _drop(self, claim: Claim) -> Job | None:
        """The job, where this attempt still had it."""
        job = self.running.get(claim.job.id)
        current = job is not None and self.store.get(claim.job.id, owner=claim.job.owner)
        if current and (current.status is JobStatus.RUNNING):
            return None  # a later attempt has it
        return self.running.pop(claim.job.id, None)

    @rule(job=jobs)
    def cancel(self, job: Job) -> None:
        if job.id in self.waiting:
            self.store.cancel(job.id, owner=job.owner)
            del self.waiting[job.id]

    @rule(owner=st.sampled_from(OWNERS))
    def suspend_owner(self, owner: str) -> None:
        self.control.suspend(owner)
        self.suspended.add(owner)

    @rule(owner=st.sampled_from(OWNERS))
    def resume_owner(self, owner: str) -> None:
        self.control.resume(owner)
        self.suspended.discard(owner)

    @rule(model=st.sampled_from(MODELS))
    def pause_model(self, model: str) -> None:
        self.control.pause(model=model)
        self.paused.add(model)

    @rule(model=st.sampled_from(MODELS))
    def unpause_model(self, model: str) -> None:
        self.control.unpause(model=model)
        self.paused.discard(model)

    @invariant()
    def each_job_stands_in_its_owners_lines(self) -> None:
        for owner in OWNERS:
            own = {job.id: job for job in self.waiting.values() if job.owner == owner}
            assert self.client.smembers(f"darkroom:waiting:{owner}") == set(own)
            assert set(self.client.zrange(f"darkroom:line:{TIER}:{owner}", 0, -1)) == set(own)
            assert self.client.smembers(f"darkroom:running:{owner}") == {
                job.id for job in self.running.values() if job.owner == owner
            }
            for model in MODELS:
                lane = set(self.client.zrange(f"darkroom:lane:{TIER}:{model}:{owner}", 0, -1))
                assert lane == {job.id for job in own.values() if job.params.model == model}
            assert (self.client.zscore(f"darkroom:turns:{TIER}", owner) is not None) == bool(own)
            backlog = float(self.client.hget(f"darkroom:backlog:{TIER}", owner) or 0)
            assert abs(backlog - sum(self._charge(job) for job in own.values())) < 1e-6

    def _charge(self, job: Job) -> float:
        return STEP_PIXELS * job.params.num_images / UNIT / self.weights[job.id]


@pytest.mark.slow
def test_fair_queue_agrees_with_its_model(redis_settings: RedisSettings) -> None:
    with make_redis(redis_settings) as client:
        run_state_machine_as_test(
            lambda: FairMachine(client),
            settings=settings(
                max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
        client.connection_pool.disconnect()
