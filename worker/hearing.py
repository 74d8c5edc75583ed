"""Whether tickets still reach this process.

A consumer whose connection has died without a word waits for ever and looks alive. It is deaf when tickets lie there at
every look, this process has room for them, and none has come. While the broker is away, nobody hears anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from darkroom.errors import DarkroomError
from darkroom.jobs import Tier
from darkroom.tickets import TicketOffice
from engine import Engine
from worker.hands import Hands

GAP_SECONDS = 10.0  # without a look: the process itself stood still, and hears again only now


class Hearing:
    """One process's ear."""

    def __init__(
        self, office: TicketOffice, hands: Hands, engine: Engine, *, tiers: Sequence[Tier], places: int
    ) -> None:
        """`places` is how many tickets the process takes at once."""
        self._office = office
        self._hands = hands
        self._engine = engine
        self._tiers = tuple(tiers)
        self._places = places
        self._well_at = self._looked_at = time.monotonic()

    def deaf_seconds(self) -> float:
        """Look once; for how long tickets have been waiting that this process could have taken."""
        well = not self._has_room() or not self._tickets_wait()
        now = time.monotonic()
        if well or now - self._looked_at > GAP_SECONDS:
            self._well_at = now
        self._looked_at = now
        return now - max(self._well_at, self._hands.last_ticket_at)

    def _has_room(self) -> bool:
        return self._hands.tickets < self._places and self._engine.capacity() > 0

    def _tickets_wait(self) -> bool:
        try:
            return any(self._office.waiting(tier) for tier in self._tiers)
        except DarkroomError:
            return False
