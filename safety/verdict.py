"""The words that safety speaks: what a check found, and what a policy decided about it.

A check yields findings (category, score); a policy turns them into one verdict. Plain frozen data: no check, no policy
and no pixels are known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Decision(StrEnum):
    """What happens to the prompt or the image, from mildest to strictest."""

    ALLOW = "allow"  #: goes on as it is
    REWRITE = "rewrite"  #: goes on with a changed prompt
    REVIEW = "review"  #: runs, but the images wait for a person
    BLOCK = "block"  #: ends here

    @property
    def strictness(self) -> int:
        return list(Decision).index(self)


class Category(StrEnum):
    """What a finding is about."""

    sexual = "sexual"
    minors = "minors"
    violence = "violence"
    hate = "hate"
    self_harm = "self-harm"
    illegal = "illegal"
    harassment = "harassment"
    public_figures = "public_figures"
    trademark = "trademark"
    watermark = "watermark"
    custom = "custom"


class Stage(StrEnum):
    """Where in a job's life a check runs."""

    PROMPT = "prompt"  #: before anything is generated
    IMAGE = "image"  #: on the finished pixels, before they are stored


class PromptField(StrEnum):
    """Which of a request's texts a finding points into."""

    PROMPT = "prompt"
    NEGATIVE_PROMPT = "negative_prompt"


@dataclass(frozen=True)
class Finding:
    """One thing one check found. `start` and `end` point into the original text, where there is one."""

    category: Category
    score: float  # in [0, 1]; the runner refuses anything else
    layer: str  # the check's name
    start: int | None = None
    end: int | None = None
    field: PromptField | None = None


@dataclass(frozen=True)
class Rewrite:
    """The texts to use instead of the caller's; they have been checked again."""

    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)


@dataclass(frozen=True)
class Waiver:
    """A finding that a person has judged harmless: this category, as this layer sees it, decides nothing."""

    category: Category
    layer: str

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is the waived one; the rule on minors knows no waiver."""
        mine = (finding.category, finding.layer) == (self.category, self.layer)
        return mine and finding.category is not Category.minors


@dataclass(frozen=True)
class Verdict:
    """What a policy decided about one prompt or one image, and on what grounds."""

    decision: Decision
    reason: str | None  # stable code such as "prompt_sexual"; None when allowed
    category: Category | None
    policy: str  # "name@version"
    findings: tuple[Finding, ...] = ()
    checks: tuple[str, ...] = ()  # the checks that ran, in order
    rewrite: Rewrite | None = None  # with REWRITE, and with REVIEW where the changed prompt still needs a person
    shadow: tuple[Finding, ...] = ()  # of checks that the policy only watches: recorded, and without effect
