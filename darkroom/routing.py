"""Which model a job gets that asked for an alias: weighted variants, each caller kept on the same one.

Pure: the catalogue says what an alias is, a hash says who gets what (weighted rendezvous hashing, so that a changed
weight or a withdrawn variant moves nobody that it need not move), counts say when a canary has to go. Knows no Redis.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from darkroom.names import Name

CONFIDENCE = 1.96  # standard deviations: one canary in forty that is as good as the rest would look worse by chance
_WHOLE = 2**64

Trouble = Literal["errors", "blocks"]  # why a canary was taken out


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variant(_Entry):
    """One model that an alias may mean, and how often against the others."""

    model: Name
    weight: float = Field(1.0, gt=0, le=1_000_000)


class Shadow(_Entry):
    """A model that repeats a share of an alias's jobs; nobody sees what it makes."""

    model: Name
    share: float = Field(gt=0, le=1)


class Canary(_Entry):
    """The variant that is on trial, and what ends the trial."""

    model: Name
    min_jobs: int = Field(50, ge=10, description="Ended jobs before anything is decided.")
    max_errors: float = Field(0.05, ge=0, le=1, description="How much more often than the others it may fail.")
    max_blocks: float = Field(0.05, ge=0, le=1, description="How much more often its images may be refused or held.")


class AliasSpec(_Entry):
    """A name that stands for one of several models."""

    name: Name
    description: str = ""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=16)]
    sticky: Literal["owner", "job"] = "owner"
    canary: Canary | None = None
    shadow: Shadow | None = None

    @model_validator(mode="after")
    def _variants_fit(self) -> Self:
        models = [variant.model for variant in self.variants]
        if len(set(models)) != len(models):
            raise ValueError("each model may be one variant only")
        if self.canary is not None and (self.canary.model not in models or len(models) == 1):
            raise ValueError("canary must be one of at least two variants")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that it names."""
        shadow = (self.shadow.model,) if self.shadow else ()
        return (*(variant.model for variant in self.variants), *shadow)

    @property
    def main(self) -> str:
        """The variant that takes what another can't do: the heaviest that is not on trial."""
        trial = self.canary.model if self.canary else None
        return max((each for each in self.variants if each.model != trial), key=lambda each: each.weight).model

    @property
    def route(self) -> str:
        """Name and version; an alias that says something else is another route, with counts of its own."""
        said = self.model_dump_json(exclude={"description"})
        return f"{self.name}@{hashlib.sha256(said.encode()).hexdigest()[:8]}"

    def arm(self, *, owner: str, job: str, out: Collection[str] = ()) -> str:
        """The model for this job. `out` are variants that get no jobs any more; the last one always does."""
        key = owner if self.sticky == "owner" else job
        left = [each for each in self.variants if each.model not in out] or [
            each for each in self.variants if each.model == self.main
        ]
        return max(left, key=lambda each: -each.weight / math.log(_point(self.name, each.model, key))).model

    def shadowed(self, job: str) -> bool:
        """Whether this job is one of those that the shadow repeats."""
        return self.shadow is not None and _point(self.name, "shadow", job) < self.shadow.share


def _point(*words: str) -> float:
    """A number in (0, 1) that is always the same for the same words."""
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return (int.from_bytes(digest[:8], "big") + 0.5) / (_WHOLE + 1)


def alias_of(route: str) -> str:
    """The name of a route's alias."""
    return route.partition("@")[0]


@dataclass(frozen=True)
class ArmCounts:
    """What became of one model's jobs on one route. Jobs that were cancelled or late say nothing about it."""

    succeeded: int = 0
    failed: int = 0
    blocked: int = 0  # images refused, all of them
    in_review: int = 0  # images held
    seconds: float = 0.0  # of the runs that succeeded
    ratings: int = 0
    rating_sum: int = 0

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.blocked + self.in_review

    @property
    def refused(self) -> int:
        return self.blocked + self.in_review

    @property
    def error_rate(self) -> float | None:
        return self.failed / self.ended if self.ended else None

    @property
    def block_rate(self) -> float | None:
        return self.refused / self.ended if self.ended else None

    @property
    def mean_seconds(self) -> float | None:
        return self.seconds / self.succeeded if self.succeeded else None

    @property
    def mean_rating(self) -> float | None:
        return self.rating_sum / self.ratings if self.ratings else None

    def __add__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(
            succeeded=self.succeeded + other.succeeded,
            failed=self.failed + other.failed,
            blocked=self.blocked + other.blocked,
            in_review=self.in_review + other.in_review,
            seconds=self.seconds + other.seconds,
            ratings=self.ratings + other.ratings,
            rating_sum=self.rating_sum + other.rating_sum,
        )


def trouble_with(canary: ArmCounts, others: ArmCounts, rules: Canary) -> Trouble | None:
    """Why the canary has to go, or None.

    It goes when it is surely worse than the others by more than the rules allow: the least rate that its own jobs make
    likely (Wilson's interval) lies above the most that theirs make likely. Others with too few jobs count as faultless.
    """
    if canary.ended < rules.min_jobs:
        return None
    known = others if others.ended >= rules.min_jobs else ArmCounts()
    checks: tuple[tuple[Trouble, int, int, float], ...] = (
        ("errors", canary.failed, known.failed, rules.max_errors),
        ("blocks", canary.refused, known.refused, rules.max_blocks),
    )
    for trouble, bad, usual, margin in checks:
        expected = usual / known.ended if known.ended else 0.0
        if least_likely_rate(bad, canary.ended) > expected + margin:
            return trouble
    return None


def least_likely_rate(bad: int, jobs: int) -> float:
    """The lower end of Wilson's interval for a rate."""
    if not bad:
        return 0.0
    z2, rate = CONFIDENCE**2, bad / jobs
    spread = CONFIDENCE * math.sqrt(rate * (1 - rate) / jobs + z2 / (4 * jobs**2))
    return (rate + z2 / (2 * jobs) - spread) / (1 + z2 / jobs)
