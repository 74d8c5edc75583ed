"""Asks for tickets beside the requests, those of one moment in one go.

A broker that hangs holds up the next tickets alone, never a request; the reaper makes up for what was refused. Knows
nothing of jobs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import Context

import anyio.to_thread

from darkroom.errors import Transient
from darkroom.jobs import Tier
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.tickets import TicketOffice

log = get_logger(__name__)


class TicketDesk:
    """Collects what the requests of one event loop ask for while a thread issues what was asked for before."""

    def __init__(self, office: TicketOffice, metrics: Metrics) -> None:
        self._office = office
        self._metrics = metrics
        self._wanted: Counter[Tier] = Counter()
        self._issuing: asyncio.Task[None] | None = None

    def ask(self, tier: Tier) -> None:
        """Have a ticket of this tier issued, soon."""
        self._wanted[tier] += 1
        if self._issuing is None or self._issuing.done():
            # In a context of its own: what is logged there concerns more requests than the one that asked first.
            self._issuing = asyncio.create_task(self._issue(), context=Context())

    async def close(self) -> None:
        """Return when what was asked for is issued, or refused."""
        if self._issuing is not None:
            await asyncio.wait([self._issuing])

    async def _issue(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, Counter()
            for tier, count in wanted.items():
                await self._issue_in(tier, count)

    async def _issue_in(self, tier: Tier, count: int) -> None:
        said = self._metrics.tickets
        try:
            issued = await anyio.to_thread.run_sync(self._office.issue, tier, count)
        except Transient:
            said.labels("refused").inc(count)
            log.warning("tickets_refused", tier=str(tier), count=count)
        else:
            said.labels("issued").inc(issued)
            said.labels("held").inc(count - issued)
