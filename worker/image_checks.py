"""Runs the image stage of the safety pipeline on one thread of its own, for all jobs of the process together.

Image models are large, their libraries not always thread-safe, and several images at once cost less than one after the
other: so what waits is judged in one go, each image under its own job's policy. Finished images go before previews;
the device thread never waits here. Fail closed is the pipeline's own rule.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from darkroom.errors import CheckUnavailable, ConfigurationError
from darkroom.jobs import Job
from darkroom.metrics import Metrics
from engine.samples import GeneratedImage
from safety.counting import count_findings
from safety.judging import waivers_of
from safety.pipeline import ImageSubject, SafetyPipeline, Terms
from safety.policy_set import Policies
from safety.verdict import Stage, Verdict

MOST_IMAGES = 16  # judged in one go; more wait for the next
Outcome = Verdict | CheckUnavailable


@dataclass(eq=False)
class _Request:
    """Images that wait for their verdicts, all under the same terms."""

    subjects: Sequence[ImageSubject]
    terms: Terms
    outcomes: Future[list[Outcome]] = field(default_factory=Future)


class ImageChecks:
    """The check thread of one process."""

    def __init__(self, pipeline: SafetyPipeline, *, metrics: Metrics, policies: Policies | None = None) -> None:
        """Without `policies`, every job is judged under the pipeline's own."""
        self._pipeline = pipeline
        self._policies = policies
        self._metrics = metrics
        self._news = threading.Condition()
        self._finished: deque[_Request] = deque()
        self._previews: deque[_Request] = deque()
        self._closed = False
        threading.Thread(target=self._work, name="checks", daemon=True).start()

    def terms(self, job: Job) -> Terms:
        """Under what a job's images are judged: the policy that its record names.

        Raises:
            CheckUnavailable: this process has no such policy.
        """
        if self._policies is None:
            return Terms(self._pipeline.policy, waivers_of(job.waived), job.owner)
        try:
            return Terms(self._policies.at(job.policy), waivers_of(job.waived), job.owner)
        except ConfigurationError as error:
            raise CheckUnavailable(error.detail) from None

    def judge(self, images: Sequence[GeneratedImage], terms: Terms | None = None) -> list[Verdict]:
        """One verdict for each image, in the same order.

        Raises:
            CheckUnavailable: a check gave no answer, so none of them may leave.
        """
        outcomes = self._ask(self._finished, [image.pixels for image in images], terms).result()
        verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
        fault = next((outcome for outcome in outcomes if isinstance(outcome, CheckUnavailable)), None)
        if fault is not None:
            self._metrics.check_errors.labels(Stage.IMAGE).inc()
            raise fault
        for verdict in verdicts:
            self._metrics.verdicts.labels(Stage.IMAGE, verdict.decision).inc()
            count_findings(self._metrics, Stage.IMAGE, verdict)
            self._note_shadow(verdict, terms)
        return verdicts

    def _note_shadow(self, verdict: Verdict, terms: Terms | None) -> None:
        if verdict.shadow:
            policy = terms.policy if terms else self._pipeline.policy
            instead = policy.judge(Stage.IMAGE, verdict.shadow, checks=()).decision
            self._metrics.shadow_verdicts.labels(Stage.IMAGE, instead).inc()

    def judge_preview(self, pixels: np.ndarray, terms: Terms) -> Future[list[Outcome]]:
        """The one outcome for a picture of an unfinished image, once no finished image waits."""
        return self._ask(self._previews, [pixels], terms)

    def close(self) -> None:
        """Judge nothing any more: what waits counts as unchecked."""
        with self._news:
            self._closed = True
            left = [*self._finished, *self._previews]
            self._finished.clear()
            self._previews.clear()
            self._news.notify_all()
        for request in left:
            _settle(request, [_ending()] * len(request.subjects))

    def _ask(self, line: deque[_Request], images: Sequence[np.ndarray], terms: Terms | None) -> Future[list[Outcome]]:
        terms = terms or Terms(self._pipeline.policy)
        request = _Request([ImageSubject(pixels, terms.owner) for pixels in images], terms)
        with self._news:
            if not self._closed:
                line.append(request)
                self._news.notify()
                return request.outcomes
        _settle(request, [_ending()] * len(images))
        return request.outcomes

    def _work(self) -> None:
        while requests := self._next():
            subjects = [subject for request in requests for subject in request.subjects]
            terms = [request.terms for request in requests for _ in request.subjects]
            try:
                outcomes = self._pipeline.judge_images(subjects, terms)
            except Exception as error:  # noqa: BLE001 - a bug leaves these images unchecked, not the thread dead
                fault = CheckUnavailable(f"the image stage failed with {type(error).__name__}")
                outcomes = [fault] * len(subjects)
            for request in requests:
                count = len(request.subjects)
                _settle(request, outcomes[:count])
                outcomes = outcomes[count:]

    def _next(self) -> list[_Request]:
        """Those whose turn it is, as many as go together; none once closed."""
        with self._news:
            self._news.wait_for(lambda: self._finished or self._previews or self._closed)
            line = self._finished or self._previews
            chosen: list[_Request] = []
            while line and (not chosen or sum(len(each.subjects) for each in (*chosen, line[0])) <= MOST_IMAGES):
                chosen.append(line.popleft())
            return chosen


def _settle(request: _Request, outcomes: list[Outcome]) -> None:
    request.outcomes.set_result(outcomes)


def _ending() -> CheckUnavailable:
    return CheckUnavailable("the image checks of this process have ended")
