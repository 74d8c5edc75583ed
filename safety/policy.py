"""Turns findings into a verdict, by bars that are data.

A policy is a versioned TOML file: for each stage the checks that must have run, and for each category the scores at
which a prompt or an image is held for a person, changed or refused. One rule is no data: what is found about minors is
refused, whatever a file says. It knows no check and touches no text or pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from darkroom.errors import ConfigurationError
from darkroom.toml_file import read_toml
from safety.verdict import Category, Decision, Finding, PromptField, Stage, Verdict, Waiver

POLICIES = Path(__file__).parent / "policies"
_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
Bar = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
CheckNames = tuple[str, ...]
SafetyLevel = Literal["off", "weak", "medium", "strong", "max"]
SAFETY_LEVELS: tuple[SafetyLevel, ...] = ("off", "weak", "medium", "strong", "max")
# From these scores on a finding about minors is refused; a policy may set the bar lower, never higher.
MINORS_BARS: Mapping[Stage, float] = {Stage.PROMPT: 0.5, Stage.IMAGE: 0.05}
# The rule on minors hangs on this check, so no policy may put it in shadow.
NEVER_IN_SHADOW = frozenset({"prompt_wordlist"})


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Thresholds(_Part):
    """The scores from which on a finding means REVIEW, and BLOCK."""

    review: Bar
    block: Bar

    @model_validator(mode="after")
    def _review_comes_first(self) -> Self:
        if self.review > self.block:
            raise ValueError("review must not be above block")
        return self

    def decide(self, score: float) -> Decision:
        if score >= self.block:
            return Decision.BLOCK
        return Decision.REVIEW if score >= self.review else Decision.ALLOW


class PromptPolicy(_Part):
    """The prompt stage's bars. Word lists score 1 for plain terms and about 0.6 for ambiguous ones."""

    required_checks: CheckNames = ()  # before the job is stored
    required_slow_checks: CheckNames = ()  # by the worker, before it generates
    default: Thresholds = Thresholds(review=0.5, block=0.9)
    thresholds: Mapping[Category, Thresholds] = {}
    # `rewrite`: from the review bar on, a changed prompt is tried; where none passes, the bars decide as for `block`.
    actions: Mapping[Category, Literal["block", "rewrite"]] = {}
    harden_negative_prompt: bool = True  # a rewrite may add to the negative prompt, too
    # Categories that decide nothing when they stand in the negative prompt: there people name what they don't want.
    negative_prompt_exempt: frozenset[Category] = frozenset()

    @model_validator(mode="after")
    def _minors_are_never_exempt(self) -> Self:
        if Category.minors in self.negative_prompt_exempt:
            raise ValueError("negative_prompt_exempt can't hold minors: that rule has no exceptions")
        if self.actions.get(Category.minors) == "rewrite":
            raise ValueError("actions can't rewrite minors: that rule has no exceptions")
        return self


class ImagePolicy(_Part):
    """The image stage's bars, over scores that each check has calibrated to [0, 1]."""

    required_checks: CheckNames = ()
    default: Thresholds = Thresholds(review=0.01, block=0.05)
    previews: bool = False  # pictures of unfinished images; each needs a verdict of its own before anybody sees it
    thresholds: Mapping[Category, Thresholds] = {}


class SafeGuidancePolicy(_Part):
    """How strongly generation itself is steered away from a concept."""

    level: SafetyLevel = "off"
    concept: str | None = None  # the texts to steer away from; None: those of the published method


class Policy(_Part):
    """One named, versioned set of bars."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=_NAME)]
    version: Annotated[int, Field(ge=1)]
    description: str = ""
    prompt: PromptPolicy = PromptPolicy()
    image: ImagePolicy = ImagePolicy()
    safe_guidance: SafeGuidancePolicy = SafeGuidancePolicy()
    shadow: CheckNames = ()  # checks whose findings are recorded and decide nothing

    @model_validator(mode="after")
    def _shadow_decides_nothing_that_must_be_decided(self) -> Self:
        image, prompt = self.image.required_checks, self.prompt.required_checks + self.prompt.required_slow_checks
        if fixed := NEVER_IN_SHADOW.intersection(self.shadow):
            raise ValueError(f"shadow can't hold {min(fixed)}: the rule on minors hangs on it")
        if both := set(self.shadow).intersection(image + prompt):
            raise ValueError(f"{min(both)} can't be both required and in shadow")
        return self

    @property
    def label(self) -> str:
        """How verdicts and records name this policy: "default@1"."""
        return f"{self.name}@{self.version}"

    def required_checks(self, stage: Stage) -> CheckNames:
        return self._stage(stage).required_checks

    def bars(self, stage: Stage, category: Category) -> Thresholds:
        """The scores that count for a category, as the file gives them."""
        stage_policy = self._stage(stage)
        return stage_policy.thresholds.get(category, stage_policy.default)

    def rewrites(self, category: Category) -> bool:
        return self.prompt.actions.get(category) == "rewrite"

    def decide(self, stage: Stage, finding: Finding) -> Decision:
        """Judge one finding by itself, as if no prompt could be changed."""
        bars = self.bars(stage, finding.category)
        if finding.category is Category.minors:
            # Never held: a held item would stand in the ordinary queue.
            return Decision.BLOCK if finding.score >= min(bars.review, MINORS_BARS[stage]) else Decision.ALLOW
        exempt = finding.field is PromptField.NEGATIVE_PROMPT and finding.category in self.prompt.negative_prompt_exempt
        return Decision.ALLOW if exempt else bars.decide(finding.score)

    def judge(
        self,
        stage: Stage,
        findings: Sequence[Finding],
        *,
        checks: Sequence[str],
        shadow: Sequence[Finding] = (),
        waived: Iterable[Waiver] = (),
    ) -> Verdict:
        """Decide by the strictest finding; among equally strict ones minors, then the highest score, name the reason.

        `shadow` are findings of watched checks, which the verdict carries along; `waived` decide nothing. The verdict
        is as if no prompt could be changed; `calls_for_rewrite` says whether a change is to be tried first.
        """
        decided = [(self.decide(stage, finding), finding) for finding in _standing(findings, waived)]
        worst = max(decided, key=_weight, default=None)
        verdict = Verdict(
            Decision.ALLOW, None, None, self.label, tuple(findings), checks=tuple(checks), shadow=tuple(shadow)
        )
        if worst is None or worst[0] is Decision.ALLOW:
            return verdict
        decision, finding = worst
        reason = f"{stage}_{finding.category.name}"
        return replace(verdict, decision=decision, reason=reason, category=finding.category)

    def calls_for_rewrite(self, findings: Sequence[Finding], waived: Iterable[Waiver] = ()) -> bool:
        """Whether a changed prompt may help: something is to be rewritten, and nothing else is refused."""
        hope = False
        for finding in _standing(findings, waived):
            decision = self.decide(Stage.PROMPT, finding)
            if decision is not Decision.ALLOW and self.rewrites(finding.category):
                hope = True
            elif decision is Decision.BLOCK:
                return False
        return hope

    def _stage(self, stage: Stage) -> PromptPolicy | ImagePolicy:
        return self.prompt if stage is Stage.PROMPT else self.image


def _weight(decided: tuple[Decision, Finding]) -> tuple[int, bool, float]:
    decision, finding = decided
    return decision.strictness, finding.category is Category.minors, finding.score


def _standing(findings: Iterable[Finding], waived: Iterable[Waiver]) -> list[Finding]:
    waivers = tuple(waived)
    return [finding for finding in findings if not any(waiver.covers(finding) for waiver in waivers)]


def load_policy(source: str | Path = "default") -> Policy:
    """Read a policy that ships with Darkroom by its name, or any policy file by its path.

    Raises:
        ConfigurationError: with one sentence that says what is wrong and where.
    """
    if isinstance(source, Path):
        return read_toml(source, Policy, what="policy")
    path = POLICIES / f"{source}.toml"
    if not re.fullmatch(_NAME, source) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in POLICIES.glob("*.toml")))
        raise ConfigurationError(f"there is no policy named {source!r}; there are: {known}")
    return read_toml(path, Policy, what="policy")
