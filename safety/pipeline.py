"""Runs checks and has a policy judge what they found: one runner for prompts and for images.

Checks are built once and passed in, cheap ones first; the first BLOCK spares the rest. Fail closed: a check that
raises, is too slow, answers nonsense, or is missing although the policy requires it, ends in `CheckUnavailable`. Then
nothing is let through and nobody is blamed. Which policy counts, the caller says with each call. Knows no particular
check, no model and no job.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Real
from typing import Generic, Protocol, TypeVar

from darkroom.errors import CheckUnavailable
from darkroom.logs import get_logger
from safety.bounded import MAX_RUNNING, TIMEOUT_SECONDS, Bounded
from safety.policy import Policy
from safety.rewriting import Rewriter, usable
from safety.subjects import ImageSubject, PromptSubject
from safety.verdict import Category, Decision, Finding, Rewrite, Stage, Verdict, Waiver

__all__ = [
    "MAX_RUNNING",
    "BatchCheck",
    "Check",
    "ImageSubject",
    "Observe",
    "PromptSubject",
    "SafetyPipeline",
    "Terms",
    "unobserved",
]

log = get_logger(__name__)

T_contra = TypeVar("T_contra", contravariant=True)
_S = TypeVar("_S")


Observe = Callable[[str, float], None]


def unobserved(_name: str, _seconds: float) -> None:
    """Take no note of how long a check took."""


class Named(Protocol):
    """What a verdict or a metric can call by its name."""

    @property
    def name(self) -> str: ...


class Check(Protocol[T_contra]):
    """One detector. It is built once, used from several threads, and must not change its subject."""

    @property
    def name(self) -> str: ...

    @property
    def stage(self) -> Stage: ...

    def run(self, subject: T_contra) -> Sequence[Finding]:
        """Score the subject; an empty answer means that nothing was found."""
        ...


class BatchCheck(Check[T_contra], Protocol[T_contra]):
    """A check that is quicker with several subjects at once."""

    def run_batch(self, subjects: Sequence[T_contra]) -> Sequence[Sequence[Finding]]:
        """Score each subject by itself: one answer for each, in the same order."""
        ...


@dataclass(frozen=True)
class Terms:
    """Under what a subject is judged."""

    policy: Policy
    waived: tuple[Waiver, ...] = ()
    owner: str | None = None  # whose images they are


@dataclass
class _Course(Generic[_S]):
    """One subject on its way through the checks of a stage."""

    subject: _S
    terms: Terms
    fault: CheckUnavailable | None = None
    findings: list[Finding] = field(default_factory=list)
    shadow: list[Finding] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    blocked: bool = False

    @property
    def over(self) -> bool:
        return self.blocked or self.fault is not None

    def take(self, check: Check[_S], answer: Sequence[Finding]) -> None:
        """Note what a check found. Findings about minors count even from a check that is only watched."""
        policy, watched = self.terms.policy, check.name in self.terms.policy.shadow
        for finding in answer:
            aside = watched and finding.category is not Category.minors
            (self.shadow if aside else self.findings).append(finding)
        self.ran.append(check.name)
        blocked = self._verdict(check.stage).decision is Decision.BLOCK
        self.blocked = blocked and not policy.calls_for_rewrite(self.findings, self.terms.waived)

    def outcome(self, stage: Stage) -> Verdict | CheckUnavailable:
        return self.fault or self._verdict(stage)

    def _verdict(self, stage: Stage) -> Verdict:
        policy, waived = self.terms.policy, self.terms.waived
        return policy.judge(stage, self.findings, checks=self.ran, shadow=self.shadow, waived=waived)


class SafetyPipeline:
    """The checks of a process, and the policy that counts where a call names none."""

    def __init__(
        self,
        *,
        policy: Policy,
        prompt_checks: Sequence[Check[PromptSubject]] = (),
        image_checks: Sequence[Check[ImageSubject]] = (),
        rewriters: Sequence[Rewriter] = (),
        slow: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        observe: Observe = unobserved,
    ) -> None:
        """Take the checks and rewriters in the order they shall run.

        Args:
            slow: these are a worker's checks, so a policy's slow ones must be among those for prompts.
            timeout_seconds: bounds each run of each check.
            observe: is told the name of each check and rewriter that ran, and how long it took, whatever came of it.
        """
        self.policy = policy
        self._prompt_checks = _of_stage(Stage.PROMPT, prompt_checks)
        self._image_checks = _of_stage(Stage.IMAGE, image_checks)
        self._rewriters = tuple(rewriters)
        self._slow = slow
        self._bounded = Bounded(timeout_seconds)
        self._observe = observe

    def check_prompt(
        self, prompt: PromptSubject, policy: Policy | None = None, *, waived: Sequence[Waiver] = ()
    ) -> Verdict:
        """Judge a request's texts, and find others where the policy would rather change than refuse them.

        Raises:
            CheckUnavailable: a check or a rewriter gave no valid answer, so there is no verdict.
        """
        terms = Terms(policy or self.policy, tuple(waived))
        verdict = self._judge_prompt(prompt, terms)
        if not terms.policy.calls_for_rewrite(verdict.findings, terms.waived):
            return verdict
        return self._rewrite(prompt, verdict, terms)

    def check_images(
        self, images: Sequence[ImageSubject], policy: Policy | None = None, *, waived: Sequence[Waiver] = ()
    ) -> list[Verdict]:
        """Judge each image by itself: one verdict for each, in the same order.

        Raises:
            CheckUnavailable: a check gave no valid answer for one of them, so none may leave.
        """
        terms = Terms(policy or self.policy, tuple(waived))
        return [_settled(outcome) for outcome in self.judge_images(images, [terms] * len(images))]

    def judge_images(self, images: Sequence[ImageSubject], terms: Sequence[Terms]) -> list[Verdict | CheckUnavailable]:
        """Judge images of several jobs together, each under its own terms; a fault stays with the image that met it."""
        courses = [
            _Course(image, its_terms, self._missing(Stage.IMAGE, its_terms.policy))
            for image, its_terms in zip(images, terms, strict=True)
        ]
        for check in self._image_checks:
            self._run(check, [course for course in courses if not course.over])
        return [course.outcome(Stage.IMAGE) for course in courses]

    def _judge_prompt(self, prompt: PromptSubject, terms: Terms) -> Verdict:
        course = _Course(prompt, terms, self._missing(Stage.PROMPT, terms.policy))
        for check in self._prompt_checks:
            if not course.over:
                self._run(check, [course])
        return _settled(course.outcome(Stage.PROMPT))

    def _missing(self, stage: Stage, policy: Policy) -> CheckUnavailable | None:
        """What stands in for a verdict where the policy requires a check that is not here."""
        required = policy.required_checks(stage)
        if stage is Stage.PROMPT and self._slow:
            required += policy.prompt.required_slow_checks
        present = {check.name for check in (self._prompt_checks if stage is Stage.PROMPT else self._image_checks)}
        missing = [name for name in required if name not in present]
        if not missing:
            return None
        return CheckUnavailable(f"policy {policy.label} requires the check {missing[0]}, which is not running here")

    def _run(self, check: Check[_S], courses: Sequence[_Course[_S]]) -> None:
        """Take these subjects through one check; where a batch gives no answer, each is asked about by itself."""
        batch = getattr(check, "run_batch", None)
        if batch is not None and len(courses) > 1:
            subjects = [course.subject for course in courses]
            try:
                answers = _one_each(check.name, self._timed(check, lambda: batch(subjects)), courses)
            except CheckUnavailable:
                pass  # one bad subject must not bring down the others' verdicts
            else:
                for course, answer in zip(courses, answers, strict=True):
                    course.take(check, answer)
                return
        for course in courses:
            self._run_one(check, course)

    def _run_one(self, check: Check[_S], course: _Course[_S]) -> None:
        try:
            answer = self._timed(check, lambda: check.run(course.subject))
            course.take(check, _valid(check.name, answer))
        except CheckUnavailable as fault:
            if check.name in course.terms.policy.shadow:
                log.warning("shadow_check_gave_no_answer", reason=fault.detail)
            else:
                course.fault = fault

    def _timed(self, part: Named, work: Callable[[], object], *, kind: str = "check") -> object:
        started = time.monotonic()
        try:
            return self._bounded.call(f"the {kind} {part.name}", work)
        finally:
            self._observe(part.name, time.monotonic() - started)

    def _rewrite(self, prompt: PromptSubject, verdict: Verdict, terms: Terms) -> Verdict:
        """The first proposal that passes every check; without one, the verdict stays."""
        for rewriter in self._rewriters:
            propose = partial(rewriter.rewrite, prompt, verdict.findings)
            changed = usable(self._timed(rewriter, propose, kind="rewriter"), prompt)
            if changed is None:
                continue
            if not terms.policy.prompt.harden_negative_prompt:
                changed = replace(changed, negative_prompt=prompt.negative_prompt)
            again = self._judge_prompt(changed, terms)
            if again.decision is not Decision.BLOCK and not terms.policy.calls_for_rewrite(
                again.findings, terms.waived
            ):
                return _rewritten(verdict, again, changed)
        return verdict


def _rewritten(before: Verdict, after: Verdict, changed: PromptSubject) -> Verdict:
    """The verdict on a prompt that was changed: why, and whether the changed one still needs a person."""
    rewrite = Rewrite(changed.prompt, changed.negative_prompt)
    if after.decision is Decision.REVIEW:
        return replace(after, findings=before.findings, rewrite=rewrite)
    return replace(before, decision=Decision.REWRITE, rewrite=rewrite)


def _settled(outcome: Verdict | CheckUnavailable) -> Verdict:
    if isinstance(outcome, CheckUnavailable):
        raise outcome
    return outcome


def _of_stage(stage: Stage, checks: Sequence[Check[_S]]) -> tuple[Check[_S], ...]:
    names = [check.name for check in checks]
    assert len(set(names)) == len(names), "two checks of one name could not be told apart in a verdict"
    assert all(check.stage is stage for check in checks), f"every one of these checks must be for the {stage} stage"
    return tuple(checks)


def _one_each(name: str, answers: object, courses: Sequence[_Course[_S]]) -> list[Sequence[Finding]]:
    if not isinstance(answers, list | tuple) or len(answers) != len(courses):
        raise CheckUnavailable(f"the check {name} answered with something other than one list for each subject")
    return [_valid(name, answer) for answer in answers]


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
