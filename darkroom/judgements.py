"""What safety decided about a job's prompt and images, as its record keeps it: scores and reasons, never a text.

The list entry that matched, and where, is not kept: reviewers see which layer scored how much, callers only the
reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

BLOCK = "block"


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

    def grounds(self) -> tuple[Waived, ...]:
        """The findings of the category that it was refused for; none where it was not."""
        if self.decision != BLOCK:
            return ()
        return tuple(Waived(score.category, score.layer) for score in self.scores if score.category == self.category)


def encode_judgements(judgements: Iterable[Judgement]) -> str:
    return json.dumps([asdict(judgement) for judgement in judgements])


def decode_judgements(text: str) -> tuple[Judgement, ...]:
    return tuple(
        Judgement(**{**item, "scores": tuple(Score(*score) for score in item["scores"])})
        for item in (json.loads(text) if text else ())
    )


def grounds_of(judgements: Sequence[Judgement]) -> tuple[Waived, ...]:
    """Every finding that something was refused for, once."""
    return tuple(dict.fromkeys(ground for judgement in judgements for ground in judgement.grounds()))
