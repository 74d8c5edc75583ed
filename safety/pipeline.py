"""Runs checks and has the policy judge what they found: one runner for prompts and for images.

Checks are built once and passed in, cheap ones first; the first BLOCK spares the rest. Fail closed: a check that
raises, is too slow, answers nonsense, or is missing although the policy requires it, ends in `CheckUnavailable`. Then
nothing is let through and nobody is blamed. Knows no particular check, no model and no job.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from numbers import Real
from pathlib import Path
from typing import Protocol, TypeVar

from darkroom.errors import CheckUnavailable
from safety.policy import Policy
from safety.subjects import ImageSubject, PromptSubject
from safety.verdict import Category, Decision, Finding, Stage, Verdict

__all__ = ["Check", "ImageSubject", "PromptSubject", "SafetyPipeline"]

TIMEOUT_SECONDS = 10.0
# Checks under way at once in a process. A check that hangs keeps its place for ever, so a few hung ones must not
# use up the process's threads: when all places are taken, further checks time out.
MAX_RUNNING = 32

T_contra = TypeVar("T_contra", contravariant=True)
_S = TypeVar("_S")


class Check(Protocol[T_contra]):
    """One detector. It is built once, used from several threads, and must not change its subject."""

    @property
    def name(self) -> str: ...

    @property
    def stage(self) -> Stage: ...

    def run(self, subject: T_contra) -> Sequence[Finding]:
        """Score the subject; an empty answer means that nothing was found."""
        ...


class SafetyPipeline:
    """The checks of a process and the policy that judges their findings."""

    def __init__(
        self,
        *,
        policy: Policy,
        prompt_checks: Sequence[Check[PromptSubject]] = (),
        image_checks: Sequence[Check[ImageSubject]] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Take the checks in the order they shall run; `timeout_seconds` bounds each run of each check."""
        self.policy = policy
        self._prompt_checks = _of_stage(Stage.PROMPT, prompt_checks)
        self._image_checks = _of_stage(Stage.IMAGE, image_checks)
        self._timeout_seconds = timeout_seconds
        self._places = threading.BoundedSemaphore(MAX_RUNNING)

    def check_prompt(self, prompt: PromptSubject) -> Verdict:
        """Judge a request's texts.

        Raises:
            CheckUnavailable: a check gave no valid answer, so there is no verdict.
        """
        self._require(Stage.PROMPT, self._prompt_checks)
        return self._judge(Stage.PROMPT, self._prompt_checks, prompt)

    def check_images(self, images: Sequence[ImageSubject]) -> list[Verdict]:
        """Judge each image by itself: one verdict for each, in the same order.

        Raises:
            CheckUnavailable: a check gave no valid answer for one of them, so none may leave.
        """
        self._require(Stage.IMAGE, self._image_checks)
        return [self._judge(Stage.IMAGE, self._image_checks, image) for image in images]

    def _require(self, stage: Stage, checks: Sequence[Check[_S]]) -> None:
        present = {check.name for check in checks}
        missing = [name for name in self.policy.required_checks(stage) if name not in present]
        if missing:
            raise CheckUnavailable(
                f"policy {self.policy.label} requires the check {missing[0]}, which is not running here"
            )

    def _judge(self, stage: Stage, checks: Sequence[Check[_S]], subject: _S) -> Verdict:
        findings: list[Finding] = []
        ran: list[str] = []
        for check in checks:
            findings.extend(_valid(check.name, self._run(check, subject)))
            ran.append(check.name)
            verdict = self.policy.judge(stage, findings, checks=ran)
            if verdict.decision is Decision.BLOCK:
                return verdict
        return self.policy.judge(stage, findings, checks=ran)

    def _run(self, check: Check[_S], subject: _S) -> object:
        """Run one check on a thread of its own: the only way to leave a hung one behind."""
        if not self._places.acquire(timeout=self._timeout_seconds):
            raise CheckUnavailable(f"the check {check.name} could not start: too many are under way")
        outcome: Future[object] = Future()

        def work() -> None:
            try:
                outcome.set_result(check.run(subject))
            except BaseException as error:  # noqa: BLE001  whatever it is, the subject counts as unchecked
                outcome.set_exception(error)
            finally:
                self._places.release()

        try:
            threading.Thread(target=work, name=f"check-{check.name}", daemon=True).start()
        except RuntimeError:  # the process has no room for another thread
            self._places.release()
            raise CheckUnavailable(f"the check {check.name} could not start") from None
        return self._answer(check.name, outcome)

    def _answer(self, name: str, outcome: Future[object]) -> object:
        done, _ = wait([outcome], timeout=self._timeout_seconds)
        if not done:
            raise CheckUnavailable(f"the check {name} gave no answer within {self._timeout_seconds:g} s")
        error = outcome.exception()
        if error is not None:
            # Neither chained nor quoted: an exception's own text may hold the prompt.
            raise CheckUnavailable(f"the check {name} failed with {_where(error)}")
        return outcome.result()


def _of_stage(stage: Stage, checks: Sequence[Check[_S]]) -> tuple[Check[_S], ...]:
    names = [check.name for check in checks]
    assert len(set(names)) == len(names), "two checks of one name could not be told apart in a verdict"
    assert all(check.stage is stage for check in checks), f"every one of these checks must be for the {stage} stage"
    return tuple(checks)


def _valid(name: str, answer: object) -> Sequence[Finding]:
    if not isinstance(answer, list | tuple):
        raise CheckUnavailable(f"the check {name} answered with something other than a list of findings")
    for finding in answer:
        fault = _fault(finding)
        if fault:
            raise CheckUnavailable(f"the check {name} answered with {fault}")
    return answer


def _fault(finding: object) -> str | None:
    if not isinstance(finding, Finding):
        return "something other than a finding"
    if not isinstance(finding.category, Category):
        return "an unknown category"
    score = finding.score
    if not isinstance(score, Real) or not math.isfinite(score) or not 0 <= score <= 1:
        return "a score that is not a number from 0 to 1"
    return None


def _where(error: BaseException) -> str:
    """The kind of an exception and the line it came from, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"
