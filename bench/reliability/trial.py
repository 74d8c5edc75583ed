"""What a check is given and what it gives back."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.reliability.homes import Homes


@dataclass(frozen=True)
class Trial:
    """One run of one check: where it may write, which random numbers it draws, and how big it is."""

    homes: Homes
    folder: Path
    seed: int
    scale: float  # 1 is the long form; a tenth of it does a tenth of the kills
    hooks: tuple[str, ...] = ()  # what `sabotage` changes in every worker, to see whether the check notices

    def count(self, full: int, *, least: int = 1) -> int:
        """A number of the long form, at this trial's scale."""
        return max(round(full * self.scale), least)

    def random(self) -> random.Random:
        """A new generator; two of one trial draw the same."""
        return random.Random(self.seed)


@dataclass(frozen=True)
class Outcome:
    """What was measured, and which promises did not hold, in words."""

    figures: Mapping[str, Any]
    broken: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        return not self.broken


@dataclass(frozen=True)
class Check:
    """One row of the proof."""

    name: str
    number: int  # of the row
    fault: str
    promise: str
    run: Callable[[Trial], Outcome]


def require(rules: Mapping[str, bool]) -> tuple[str, ...]:
    """The sentences of the rules that do not hold."""
    return tuple(sentence for sentence, holds in rules.items() if not holds)
