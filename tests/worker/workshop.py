"""A worker's parts, wired as in production but without Celery: real store, real engine, real files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from darkroom.job_store import Claim, JobStore
from darkroom.jobs import Job
from darkroom.metrics import Metrics
from darkroom.object_store import ObjectStore
from engine import Engine
from safety.pipeline import Check, ImageSubject, SafetyPipeline
from safety.policy import Policy, load_policy
from safety.verdict import Category, Finding, Stage
from tests.darkroom.factories import make_job, make_params, run_one
from worker.drain import Drain
from worker.heartbeat import Heartbeat
from worker.image_checks import ImageChecks
from worker.marking import Marking
from worker.prompt_checks import PromptChecks
from worker.runner import JobRunner, Outcome, TakePreviews

LONG = 999  # steps; several seconds even for the tiny model


@dataclass
class Workshop:
    """One process's parts; `runner()` builds the runner from what a test left or changed."""

    jobs: JobStore
    objects: ObjectStore
    engine: Engine
    image_checks: Sequence[Check[ImageSubject]] = ()
    grace_seconds: float = 0.0
    metrics: Metrics = field(default_factory=Metrics)
    terminated: list[bool] = field(default_factory=list)
    previews: TakePreviews | None = None
    policy: Policy = field(default_factory=load_policy)
    marking: Marking | None = None
    prompts: PromptChecks | None = None

    def __post_init__(self) -> None:
        self.drain = Drain(grace_seconds=self.grace_seconds, terminate=lambda: self.terminated.append(True))
        self.heartbeat = Heartbeat(self.jobs, seconds=0.05, metrics=self.metrics)

    def runner(self) -> JobRunner:
        return JobRunner(
            engine=self.engine,
            checks=ImageChecks(
                SafetyPipeline(policy=self.policy, image_checks=self.image_checks), metrics=self.metrics
            ),
            jobs=self.jobs,
            objects=self.objects,
            heartbeat=self.heartbeat,
            drain=self.drain,
            metrics=self.metrics,
            pause=lambda _attempt: 0.0,
            previews=self.previews,
            marking=self.marking,
            prompts=self.prompts,
        )

    def submit(self, *, deadline_seconds: int | None = None, held: str | None = None, **params: Any) -> Job:
        wanted = {"width": 64, "height": 64, "num_inference_steps": 4, **params}
        job = make_job(params=make_params(**wanted), held=held)
        return self.jobs.submit(job, deadline_seconds=deadline_seconds).job

    def claim(self, **changes: Any) -> Claim:
        return run_one(self.jobs, **changes)

    def run(self) -> Outcome:
        """Claim the next job and carry it to its end."""
        return self.runner().run(self.claim())

    def get(self, job: Job) -> Job:
        return self.jobs.get(job.id, owner=job.owner)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class Running:
    """One claim being run on a thread of its own."""

    def __init__(self, runner: JobRunner, claim: Claim) -> None:
        self.outcome: Outcome | None = None
        self._thread = threading.Thread(target=self._run, args=(runner, claim), daemon=True)
        self._thread.start()

    def _run(self, runner: JobRunner, claim: Claim) -> None:
        self.outcome = runner.run(claim)

    def result(self, seconds: float = 20.0) -> Outcome:
        self._thread.join(seconds)
        assert self.outcome is not None, f"the run did not end within {seconds:g} s"
        return self.outcome


@dataclass
class ScoreEach:
    """Gives the images, in the order in which they come, these scores."""

    scores: list[float]
    categories: list[Category] = field(default_factory=list)
    name: str = "score_each"
    stage: Stage = Stage.IMAGE

    def run(self, _subject: ImageSubject) -> list[Finding]:
        category = self.categories.pop(0) if self.categories else Category.sexual
        return [Finding(category, self.scores.pop(0), self.name)]


@dataclass
class Meanwhile:
    """Finds nothing, but does something between an image's making and its storing."""

    action: Callable[[], Any]
    name: str = "meanwhile"
    stage: Stage = Stage.IMAGE

    def run(self, _subject: ImageSubject) -> list[Finding]:
        self.action()
        return []
