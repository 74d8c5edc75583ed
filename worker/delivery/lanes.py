"""One lane for each receiver, so that a dead or slow one delays nobody else.

A lane lets a few deliveries through at once; the others are told when to come back, each a little later, which makes
the outbox itself the queue. Failures in a row close the lane, longer each time; then one delivery probes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

LaneKey: TypeAlias = tuple[str, str]  # owner, and endpoint id or origin

FAILURES = 5  # in a row, before a lane closes
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0  # seconds a lane stays closed
LEAST_WAIT, LONGEST_WAIT = 0.5, 600.0  # for those who find it full or closed
MOST_LANES = 10_000


@dataclass
class Lane:
    """What is known of one receiver, in this process. Times are seconds of one clock."""

    width: int  # deliveries at once
    running: int = 0
    failures: int = 0
    closed_until: float = 0.0
    seconds: float = 0.1  # a delivery takes, on average
    next_turn: float = 0.0

    def enter(self, now: float) -> float | None:
        """None where a delivery may go now; else the time to come back at."""
        probing = self.failures >= FAILURES
        if now >= self.closed_until and self.running < (1 if probing else self.width):
            self.running += 1
            return None
        self.next_turn = max(self.next_turn, now + LEAST_WAIT, self.closed_until) + self.seconds / self.width
        return min(self.next_turn, max(now, self.closed_until) + LONGEST_WAIT)

    def leave(self, now: float, *, seconds: float, failed: bool, closed_for: float = 0.0) -> None:
        """A delivery is done; `closed_for` is how long the receiver asked to be left alone."""
        self.running -= 1
        self.seconds += (seconds - self.seconds) / 8
        self.failures = self.failures + 1 if failed else 0
        if self.failures >= FAILURES:
            closed_for = max(closed_for, min(FIRST_PAUSE * 2 ** (self.failures - FAILURES), LONGEST_PAUSE))
        self.closed_until = max(self.closed_until, now + closed_for) if closed_for else self.closed_until

    def is_idle(self, now: float) -> bool:
        return self.running == 0 and self.failures == 0 and max(self.closed_until, self.next_turn) <= now


class Lanes:
    """All lanes of this process."""

    def __init__(self, *, width: int) -> None:
        self._width = width
        self._lanes: dict[LaneKey, Lane] = {}

    def of(self, key: LaneKey, now: float) -> Lane:
        if key not in self._lanes and len(self._lanes) >= MOST_LANES:
            self._lanes = {known: lane for known, lane in self._lanes.items() if not lane.is_idle(now)}
        return self._lanes.setdefault(key, Lane(self._width))
