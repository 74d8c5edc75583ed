"""Tickets that many requests ask for at once."""

from __future__ import annotations

import asyncio

import redis
from celery import Celery

from api.ticket_desk import TicketDesk
from darkroom.jobs import Tier
from darkroom.metrics import Metrics
from darkroom.settings import RedisSettings
from darkroom.tickets import MAX_WAITING, TicketOffice, make_celery


class WatchedOffice(TicketOffice):
    """Remembers how it was called."""

    def __init__(self, celery: Celery, client: redis.Redis) -> None:
        super().__init__(celery, client)
        self.calls: list[tuple[Tier, int]] = []

    def issue(self, tier: Tier, wanted: int = 1) -> int:
        self.calls.append((tier, wanted))
        return super().issue(tier, wanted)


def test_tickets_of_one_moment_are_issued_in_one_go(redis_settings: RedisSettings, redis_client: redis.Redis) -> None:
    office = WatchedOffice(make_celery(redis_settings), redis_client)

    async def burst() -> None:
        desk = TicketDesk(office, Metrics())
        for _ in range(20):
            desk.ask(Tier.STANDARD)
        desk.ask(Tier.QUALITY)
        await desk.close()

    asyncio.run(burst())

    assert office.calls == [(Tier.STANDARD, 20), (Tier.QUALITY, 1)]
    assert (office.waiting(Tier.STANDARD), office.waiting(Tier.QUALITY)) == (20, 1)


def test_what_is_asked_for_meanwhile_is_issued_next(redis_settings: RedisSettings, redis_client: redis.Redis) -> None:
    office = TicketOffice(make_celery(redis_settings), redis_client)

    async def trickle() -> None:
        desk = TicketDesk(office, Metrics())
        for _ in range(5):
            desk.ask(Tier.STANDARD)
            await asyncio.sleep(0.002)
        await desk.close()
        desk.ask(Tier.STANDARD)
        await desk.close()

    asyncio.run(trickle())

    assert office.waiting(Tier.STANDARD) == 6


def test_each_ticket_is_counted(redis_settings: RedisSettings, redis_client: redis.Redis) -> None:
    office = TicketOffice(make_celery(redis_settings), redis_client)
    metrics = Metrics()

    async def flood() -> None:
        desk = TicketDesk(office, metrics)
        for _ in range(MAX_WAITING + 3):
            desk.ask(Tier.STANDARD)
        await desk.close()

    asyncio.run(flood())

    value = metrics.registry.get_sample_value
    counted = {name: value("darkroom_tickets_total", {"result": name}) for name in ("issued", "held")}
    assert counted == {"issued": MAX_WAITING, "held": 3}
