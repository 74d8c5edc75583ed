"""When a delivery that failed is tried again, and when never: the retry table, jitter, and what the receiver asked."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

JITTER = 0.2  # of a pause, added: receivers that failed together are not called together again
LONGEST_ASKED = 86_400.0  # seconds of `Retry-After` that are granted
GONE = 410
THROTTLED = frozenset({429, 502, 503, 504})  # the receiver as a whole wants rest, not just this delivery


def next_pause(pauses: Sequence[float], *, attempt: int, asked: float | None, dice: random.Random) -> float | None:
    """Seconds until the attempt after this one (the first is 1); None where this was the last."""
    if attempt > len(pauses):
        return None
    pause = pauses[attempt - 1] * (1 + JITTER * dice.random())
    return max(pause, min(asked or 0.0, LONGEST_ASKED))


def longest_life(pauses: Sequence[float]) -> float:
    """Seconds after which a delivery is given up whatever its attempts: a closed lane costs none."""
    return (1 + JITTER) * sum(pauses) + LONGEST_ASKED


def read_retry_after(text: str | None, *, now: float) -> float | None:
    """Seconds that a receiver asked for, as a number or as a date; None where it can't be read."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    return seconds if math.isfinite(seconds) and seconds > 0 else None
