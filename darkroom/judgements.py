"""What safety decided about a job's prompt and images, as its record keeps it: scores and reasons, never a text.

The list entry that matched, and where, is not kept: reviewers see which layer scored how much, callers only the
reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

ALLOW = "allow"
MINORS = "minors"  # the category whose findings nothing sets aside


class Score(NamedTuple):
    """What one layer saw of one category."""

    category: str
    layer: str
    score: float


class Waived(NamedTuple):
    """A finding that a granted appeal has set aside: one category, as one layer sees it."""

    category: str
    layer: str


@dataclass(frozen=True)
class Judgement:
    """The verdict on the prompt, or on one image."""

    stage: str  # prompt or image
    decision: str
    reason: str | None
    category: str | None  # of the reason
    index: int | None = None  # of the image
    policy: str | None = None
    scores: tuple[Score, ...] = ()
    shadow: tuple[Score, ...] = ()  # of checks that were only watched

    def grounds(self) -> tuple[Waived, ...]:
        """The findings of the category that it was refused or held for; none where it was let go."""
        if self.decision == ALLOW or self.category == MINORS:
            return ()
        return tuple(Waived(score.category, score.layer) for score in self.scores if score.category == self.category)


def encode_judgements(judgements: Iterable[Judgement]) -> str:
    return json.dumps([asdict(judgement) for judgement in judgements])


def decode_judgements(text: str) -> tuple[Judgement, ...]:
    return tuple(
        Judgement(**{**item, **{name: _scores(item.get(name, [])) for name in ("scores", "shadow")}})
        for item in (json.loads(text) if text else ())
    )


def _scores(stored: Iterable[Sequence[Any]]) -> tuple[Score, ...]:
    return tuple(Score(*score) for score in stored)


def grounds_of(judgements: Sequence[Judgement]) -> tuple[Waived, ...]:
    """Every finding that something was refused or held for, once."""
    return tuple(dict.fromkeys(ground for judgement in judgements for ground in judgement.grounds()))
