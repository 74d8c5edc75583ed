"""Turns findings into a verdict, by bars that are data.

A policy is a versioned TOML file: for each stage the checks that must have run, and for each category the scores at
which an image is held for a person or refused. It knows no check and touches no text or pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from darkroom.errors import ConfigurationError
from safety.toml_file import read_toml
from safety.verdict import Category, Decision, Finding, PromptField, Stage, Verdict

POLICIES = Path(__file__).parent / "policies"
_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
Bar = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


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

    required_checks: tuple[str, ...] = ()
    default: Thresholds = Thresholds(review=0.5, block=0.9)
    thresholds: Mapping[Category, Thresholds] = {}
    # Categories that decide nothing when they stand in the negative prompt: there people name what they don't want.
    negative_prompt_exempt: frozenset[Category] = frozenset()

    @model_validator(mode="after")
    def _minors_are_never_exempt(self) -> Self:
        if Category.minors in self.negative_prompt_exempt:
            raise ValueError("negative_prompt_exempt can't hold minors: that rule has no exceptions")
        return self


class ImagePolicy(_Part):
    """The image stage's bars, over scores that each check has calibrated to [0, 1]."""

    required_checks: tuple[str, ...] = ()
    default: Thresholds = Thresholds(review=0.01, block=0.05)
    previews: bool = False  # pictures of unfinished images; each needs a verdict of its own before anybody sees it
    thresholds: Mapping[Category, Thresholds] = {}


class Policy(_Part):
    """One named, versioned set of bars."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=_NAME)]
    version: Annotated[int, Field(ge=1)]
    description: str = ""
    prompt: PromptPolicy = PromptPolicy()
    image: ImagePolicy = ImagePolicy()

    @property
    def label(self) -> str:
        """How verdicts and records name this policy: "default@1"."""
        return f"{self.name}@{self.version}"

    def required_checks(self, stage: Stage) -> tuple[str, ...]:
        return self._stage(stage).required_checks

    def decide(self, stage: Stage, finding: Finding) -> Decision:
        """Judge one finding by itself."""
        exempt = finding.field is PromptField.NEGATIVE_PROMPT and finding.category in self.prompt.negative_prompt_exempt
        if exempt:
            return Decision.ALLOW
        bars = self._stage(stage)
        return bars.thresholds.get(finding.category, bars.default).decide(finding.score)

    def judge(self, stage: Stage, findings: Sequence[Finding], *, checks: Sequence[str]) -> Verdict:
        """Decide by the strictest finding; among equally strict ones the highest score names the reason."""
        decided = [(self.decide(stage, finding), finding) for finding in findings]
        worst = max(decided, key=lambda pair: (pair[0].strictness, pair[1].score), default=None)
        if worst is None or worst[0] is Decision.ALLOW:
            return Verdict(Decision.ALLOW, None, None, self.label, tuple(findings), tuple(checks))
        decision, finding = worst
        reason = f"{stage}_{finding.category.name}"
        return Verdict(decision, reason, finding.category, self.label, tuple(findings), tuple(checks))

    def _stage(self, stage: Stage) -> PromptPolicy | ImagePolicy:
        return self.prompt if stage is Stage.PROMPT else self.image


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
