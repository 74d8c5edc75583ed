"""What reading an invisible mark gives."""

from __future__ import annotations

from dataclasses import dataclass

KEY_PURPOSE = "invisible marks"  # what the marks' keys are derived for


@dataclass(frozen=True)
class Reading:
    """A mark that was found. `payload` is None where its bits don't fit together any more."""

    payload: int | None
    strength: float  # how well the picture agrees with the bits read: 1 is untouched, about 0.1 is chance
