"""Carries one claimed job to its end: generate -> check -> store -> commit.

Runs on the job's own task thread, so encoding, hashing and uploading never hold the device thread up. Every attempt
ends in one of three ways: a commit, a release back to the queue, or silence where the job is somebody else's by now.
Knows nothing of Celery.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

from darkroom.errors import (
    ClaimLost,
    DarkroomError,
    DeadlineExceeded,
    Fatal,
    GenerationCancelled,
    JobStoreUnavailable,
    ObjectStoreUnavailable,
    Transient,
)
from darkroom.job_store import Claim, Committed, JobStore, Lease
from darkroom.jobs import ImageRecord, JobError, JobStatus
from darkroom.judgements import Judgement
from darkroom.logs import bind_job, get_logger
from darkroom.metrics import Metrics
from darkroom.object_store import ObjectStore
from darkroom.owner_labels import OwnerLabels
from darkroom.owners import Owners
from darkroom.tracing import Step, continued, marking_steps, span
from engine import Engine, EngineHandle, GeneratedImage, ImageRequest
from engine.samples import OnPreview
from safety.judging import judgement_of
from safety.verdict import Category, Decision, Stage, Verdict
from worker.attempt_notes import AttemptNotes
from worker.device_time import DeviceTime
from worker.drain import Drain, Draining
from worker.heartbeat import Heartbeat, Watch
from worker.image_checks import ImageChecks
from worker.images import image_file, image_request, prefixes, safe_guidance
from worker.inputs import load_inputs
from worker.marking import Marking
from worker.progress import ProgressNotes
from worker.prompt_checks import PromptChecks

log = get_logger(__name__)

IMAGES_REFUSED = "No image passed the safety checks, so none is released."
PROMPT_REFUSED = "The prompt was refused by the content policy."
POLL_SECONDS = 0.1  # between two looks at lease, drain and progress
STORE_RETRY_SECONDS = 0.5
SETTLE_SECONDS = 0.5  # that an attempt which ends early waits for its images to leave the engine
FIRST_PAUSE_SECONDS = 2.0  # before a job that met a transient fault may be claimed again; doubles with each attempt
LONGEST_PAUSE_SECONDS = 60.0
# How an attempt's error ends the job; any other means `failed`.
_STATUSES: Mapping[type[DarkroomError], JobStatus] = MappingProxyType(
    {GenerationCancelled: JobStatus.CANCELLED, DeadlineExceeded: JobStatus.EXPIRED}
)
_T = TypeVar("_T")
#: Given a claim and an image's index: what takes this image's previews, on the device thread; None where none are made.
TakePreviews = Callable[[Claim, int], OnPreview | None]


class Outcome(Enum):
    """What an attempt leaves behind for its ticket."""

    ENDED = "ended"  #: nothing to do: committed, or somebody else's
    RELEASED = "released"  #: back in the queue, to be claimed later; the reaper issues a ticket then
    HANDED_BACK = "handed_back"  #: back in the queue for another worker, now


def pause_before(attempt: int) -> float:
    """Seconds until a job may be claimed again after a transient fault; jittered, so that jobs don't return at once."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0)


class JobRunner:
    """Runs claims; one a process, used from every task thread."""

    def __init__(
        self,
        *,
        engine: Engine,
        checks: ImageChecks,
        jobs: JobStore,
        objects: ObjectStore,
        heartbeat: Heartbeat,
        drain: Drain,
        metrics: Metrics,
        pause: Callable[[int], float] = pause_before,
        previews: TakePreviews | None = None,
        marking: Marking | None = None,
        prompts: PromptChecks | None = None,
        owner_labels: OwnerLabels | None = None,
    ) -> None:
        """Take the process's parts.

        Args:
            pause: gives the seconds before a job may run again after a transient fault, by its attempt.
            marking: marks and signs what is stored; without it images are written as they are.
            prompts: judges prompts once more, before anything is made; without it the API's verdict stands.
            owner_labels: how metrics name owners; without it, all of them by the default plan.
            previews: takes pictures of unfinished images, which nobody has checked; without it none are made.
        """
        self._engine = engine
        self._checks = checks
        self._jobs = jobs
        self._objects = objects
        self._heartbeat = heartbeat
        self._drain = drain
        self._pause = pause
        self._previews = previews
        self._marking = marking or Marking()
        self._prompts = prompts
        self._device_time = DeviceTime()
        self._notes = AttemptNotes(metrics, owner_labels or OwnerLabels(Owners()), self._device_time)

    def run(self, claim: Claim, *, is_unwelcome: Callable[[], bool] = lambda: False) -> Outcome:
        """Carry the job to its end, or give it back. What a job can meet is handled here; only bugs are raised.

        Args:
            is_unwelcome: asked while images are made; once it says so, the job goes back to the queue.
        """
        with self._known(claim), self._device_time.metered(claim), self._heartbeat.watch(claim) as watch:
            self._notes.claimed(claim)
            try:
                return self._attempt(watch, is_unwelcome)
            except JobStoreUnavailable:
                # Only a draining process stops asking; the lease runs out and the job is taken back.
                log.warning("job_left_to_the_reaper", attempt=claim.attempt)
                return Outcome.ENDED

    def fail(self, claim: Claim) -> None:
        """End a job that met a bug of ours."""
        with self._known(claim):
            self._give_up(claim, DarkroomError())

    @contextmanager
    def _known(self, claim: Claim) -> Iterator[None]:
        """What logs and traces tell of the block names the job, and leads back to the request that made it."""
        job = claim.job
        with (
            continued(job.traceparent),
            bind_job(job.id, request_id=job.request_id),
            span(Step.ATTEMPT, job=job.id, attempt=claim.attempt, tier=job.tier, model=job.params.model),
        ):
            yield

    def _attempt(self, watch: Watch, is_unwelcome: Callable[[], bool]) -> Outcome:
        claim, began = watch.claim, time.monotonic()
        try:
            claim, prompt = self._judge_prompt(claim)
            if prompt is not None and prompt.decision is Decision.BLOCK:
                return self._refuse(claim, prompt)
            with span(Step.GENERATE, images=claim.job.params.num_images):
                images = self._generate(claim, watch, began, is_unwelcome)
            with span(Step.CHECK_IMAGES, images=len(images)):
                verdicts = self._checks.judge(images, self._checks.terms(claim.job))
            if any(_is_sealed(verdict) for verdict in verdicts):
                return self._seal(claim, _judgements(prompt, verdicts))
            if claim.job.shadow:
                return self._end_shadow(claim, prompt, verdicts, began)
            with span(Step.UPLOAD):
                records = self._store(claim, images, verdicts)
            status, error = _result(records, verdicts)
            outcome = self._commit(claim, status, images=records, error=error, findings=_judgements(prompt, verdicts))
        except JobStoreUnavailable:
            raise
        except DarkroomError as error:
            return self._give_up(claim, error)
        self._notes.ran(claim, time.monotonic() - began)
        return outcome

    def _judge_prompt(self, claim: Claim) -> tuple[Claim, Verdict | None]:
        """The claim with the texts that may be used, and the verdict on them where this worker gives one."""
        if self._prompts is None:
            return claim, None
        with span(Step.CHECK_PROMPT):
            checked = self._prompts.judge(claim.job)
        if checked is None:
            return claim, None
        if checked.job != claim.job:
            claim = self._insist(lambda: self._jobs.rewrite(claim, checked.job))
        return claim, checked.verdict

    def _refuse(self, claim: Claim, prompt: Verdict) -> Outcome:
        """End a job whose prompt may not be used; nothing was made."""
        error = JobError(prompt.reason or "prompt_blocked", PROMPT_REFUSED)
        return self._commit(claim, JobStatus.BLOCKED, error=error, findings=_judgements(prompt, ()))

    def _seal(self, claim: Claim, findings: Sequence[Judgement]) -> Outcome:
        """End a job of which one image met the rule on minors: the others are neither stored nor shown to reviewers."""
        error = JobError(f"{Stage.IMAGE}_{Category.minors.name}", IMAGES_REFUSED)
        return self._commit(claim, JobStatus.BLOCKED, error=error, findings=findings)

    def _end_shadow(self, claim: Claim, prompt: Verdict | None, verdicts: Sequence[Verdict], began: float) -> Outcome:
        """End a run that only measures: nothing is stored, so nobody can see or review it."""
        allowed = any(verdict.decision is Decision.ALLOW for verdict in verdicts)
        status = JobStatus.SUCCEEDED if allowed else JobStatus.BLOCKED
        reason = next((verdict.reason for verdict in verdicts if verdict.reason), "image_blocked")
        error = None if allowed else JobError(reason, IMAGES_REFUSED)
        outcome = self._commit(claim, status, error=error, findings=_judgements(prompt, verdicts))
        self._notes.ran(claim, time.monotonic() - began)
        return outcome

    def _generate(
        self, claim: Claim, watch: Watch, began: float, is_unwelcome: Callable[[], bool]
    ) -> list[GeneratedImage]:
        """Have all images of the job made at once; the engine batches them with those of other jobs."""
        params, inputs = claim.job.params, load_inputs(claim.job.params, self._objects)
        notes = ProgressNotes(images=params.num_images, steps_each=params.num_inference_steps)
        deadline, safe = _deadline(claim), safe_guidance(self._checks.terms(claim.job).policy, params)
        takers = [self._previews(claim, index) if self._previews else None for index in range(params.num_images)]
        requests = [
            image_request(
                params, index, inputs=inputs, deadline=deadline, previews=take is not None, safe_guidance=safe
            )
            for index, take in enumerate(takers)
        ]
        with self._submitted(claim, requests, takers, notes) as handles:
            self._await([handle.future for handle in handles], watch, notes, is_unwelcome)
            self._notes.first_step(claim, notes, began)
            return [handle.future.result() for handle in handles]

    @contextmanager
    def _submitted(
        self,
        claim: Claim,
        requests: Sequence[ImageRequest],
        takers: Sequence[OnPreview | None],
        notes: ProgressNotes,
    ) -> Iterator[list[EngineHandle]]:
        """The requests' handles; whatever ends the block, no rows stay taken behind it."""
        handles: list[EngineHandle] = []
        try:
            for index, (request, take) in enumerate(zip(requests, takers, strict=True)):
                model, note = claim.job.params.model, marking_steps(index, notes.of_image(index))
                handles.append(self._engine.submit(model, request, on_step=note, on_preview=take))
                self._device_time.add(claim, handles[-1])
            yield handles
        finally:
            for handle in handles:
                handle.cancel()  # does nothing to one that is finished
            wait([handle.future for handle in handles], timeout=SETTLE_SECONDS)  # the step under way counts too

    def _await(
        self,
        futures: Sequence[Future[GeneratedImage]],
        watch: Watch,
        notes: ProgressNotes,
        is_unwelcome: Callable[[], bool],
    ) -> None:
        """Wait until all images are there, or until one reason to stop."""
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            if watch.lease is Lease.LOST:
                raise ClaimLost
            if watch.lease is Lease.CANCELLED:
                raise GenerationCancelled
            if pending and (self._drain.over or is_unwelcome()):
                raise Draining
            self._tell(watch.claim, notes)

    def _tell(self, claim: Claim, notes: ProgressNotes) -> None:
        if (progress := notes.due()) is None:
            return
        try:
            self._jobs.progress(claim, step=progress.step, steps=progress.steps, device_us=self._device_time.of(claim))
        except JobStoreUnavailable:
            log.warning("progress_not_written")

    def _store(self, claim: Claim, images: Sequence[GeneratedImage], verdicts: Sequence[Verdict]) -> list[ImageRecord]:
        """Put each image where its own verdict sends it; a blocked one goes nowhere."""
        records = []
        ingredients = self._marking.ingredients(claim.job.params, self._objects)
        level = self._checks.terms(claim.job).policy.safe_guidance.level
        for index, (image, verdict) in enumerate(zip(images, verdicts, strict=True)):
            decision = _with_the_prompts(verdict.decision, held=claim.job.held)
            if decision is not Decision.BLOCK:
                file = image_file(
                    claim,
                    index,
                    image,
                    decision=decision,
                    marking=self._marking,
                    ingredients=ingredients,
                    level=level,
                )
                self._objects.put(file.record.key, file.data, file.record.content_type)
                self._remember(claim, index, image)
                records.append(file.record)
        return records

    def _remember(self, claim: Claim, index: int, image: GeneratedImage) -> None:
        self._insist(lambda: self._marking.remember(claim.job, index, image.pixels))

    def _commit(
        self,
        claim: Claim,
        status: JobStatus,
        *,
        images: Sequence[ImageRecord] = (),
        error: JobError | None = None,
        findings: Sequence[Judgement] = (),
    ) -> Outcome:
        with span(Step.COMMIT, outcome=status, images=len(images)):
            committed = self._insist(
                lambda: self._jobs.commit(
                    claim,
                    status=status,
                    images=images,
                    error=error,
                    findings=findings,
                    device_us=self._device_time.of(claim),
                )
            )
        if committed is Committed.DONE:
            self._notes.ended(claim, status.value, images=len(images), code=error.code if error else None)
        else:
            self._sweep(claim)
            self._notes.ended(claim, committed.value)
        return Outcome.ENDED

    def _give_up(self, claim: Claim, error: DarkroomError) -> Outcome:
        """End or release a job whose attempt raised."""
        if isinstance(error, ClaimLost):
            self._sweep(claim)
            self._notes.ended(claim, Committed.LOST.value)
            return Outcome.ENDED
        if isinstance(error, Draining):
            return self._release(claim, error, broke=self._drain.broken, outcome=Outcome.HANDED_BACK)
        if isinstance(error, Fatal):
            self._drain.end(error.detail)
            return self._release(claim, error, broke=True, outcome=Outcome.HANDED_BACK)
        if isinstance(error, Transient):
            pause = self._pause(claim.attempt)
            return self._release(claim, error, transient=True, not_before_seconds=pause, outcome=Outcome.RELEASED)
        status = _STATUSES.get(type(error), JobStatus.FAILED)
        problem = None if status is JobStatus.CANCELLED else JobError(error.code, error.detail)
        return self._commit(claim, status, error=problem)

    def _release(
        self,
        claim: Claim,
        error: DarkroomError,
        *,
        outcome: Outcome,
        transient: bool = False,
        broke: bool = False,
        not_before_seconds: float = 0,
    ) -> Outcome:
        self._insist(
            lambda: self._jobs.release(
                claim,
                not_before_seconds=not_before_seconds,
                transient=transient,
                broke=broke,
                error=JobError(error.code, error.detail),
                device_us=self._device_time.of(claim),
            )
        )
        self._notes.ended(claim, "released", code=error.code)
        return outcome

    def _insist(self, call: Callable[[], _T]) -> _T:
        """Repeat a call through an outage of the job store, for as long as the process lives."""
        while True:
            try:
                return call()
            except JobStoreUnavailable:
                if self._drain.overdue:
                    raise
                time.sleep(STORE_RETRY_SECONDS)

    def _sweep(self, claim: Claim) -> None:
        """Delete this attempt's own files, which no record names."""
        try:
            for prefix in prefixes(claim):
                self._objects.delete_prefix(prefix)
        except ObjectStoreUnavailable:
            log.warning("objects_not_swept", attempt=claim.attempt)


def _deadline(claim: Claim) -> float | None:
    """The job's deadline on this machine's monotonic clock.

    Both times of the record are Redis' own and the claim has just been made, so the two clocks need not agree.
    """
    job = claim.job
    if job.deadline_at is None or job.started_at is None:
        return None
    return time.monotonic() + job.deadline_at - job.started_at


def _judgements(prompt: Verdict | None, images: Sequence[Verdict]) -> list[Judgement]:
    """The verdicts as the record keeps them."""
    of_prompt = [judgement_of(prompt, Stage.PROMPT)] if prompt else []
    return of_prompt + [judgement_of(verdict, Stage.IMAGE, index=index) for index, verdict in enumerate(images)]


def _is_sealed(verdict: Verdict) -> bool:
    return verdict.decision is Decision.BLOCK and verdict.category is Category.minors


def _with_the_prompts(decision: Decision, *, held: str | None) -> Decision:
    """An image's own decision, made stricter where the prompt's verdict holds every image of the job."""
    least = Decision.REVIEW if held else Decision.ALLOW
    return max(decision, least, key=lambda each: each.strictness)


def _result(records: Sequence[ImageRecord], verdicts: Sequence[Verdict]) -> tuple[JobStatus, JobError | None]:
    """The job's status from its images: held while one is held, released if one is, else blocked."""
    if any(record.decision == Decision.REVIEW for record in records):
        return JobStatus.IN_REVIEW, None
    if records:
        return JobStatus.SUCCEEDED, None
    reason = next((verdict.reason for verdict in verdicts if verdict.reason), "image_blocked")
    return JobStatus.BLOCKED, JobError(reason, IMAGES_REFUSED)
