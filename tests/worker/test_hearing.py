"""Whether tickets still reach the process."""

from __future__ import annotations

import time

import pytest

from darkroom.jobs import Tier
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from darkroom.tickets import TicketOffice, make_celery
from engine import Engine
from tests.fixtures.ports import free_port
from worker import hearing as module
from worker.hands import Hands
from worker.hearing import Hearing


def make_hearing(office: TicketOffice, hands: Hands, engine: Engine, *tiers: Tier) -> Hearing:
    return Hearing(office, hands, engine, tiers=tiers or tuple(Tier), places=2)


def look_twice(hearing: Hearing) -> float:
    hearing.deaf_seconds()
    time.sleep(0.2)
    return hearing.deaf_seconds()


def test_tickets_that_lie_while_there_is_room_are_not_heard(office: TicketOffice, shared_engine: Engine) -> None:
    office.issue(Tier.STANDARD)

    assert look_twice(make_hearing(office, Hands(), shared_engine)) >= 0.2


def test_a_process_without_work_to_take_is_well(office: TicketOffice, shared_engine: Engine) -> None:
    office.issue(Tier.QUALITY)

    assert look_twice(make_hearing(office, Hands(), shared_engine, Tier.PREVIEW)) == 0


def test_a_full_process_is_well(office: TicketOffice, shared_engine: Engine) -> None:
    office.issue(Tier.STANDARD)
    hands = Hands()

    with hands.ticket(), hands.ticket():
        assert look_twice(make_hearing(office, hands, shared_engine)) < 0.1


def test_a_ticket_that_comes_ends_the_silence(office: TicketOffice, shared_engine: Engine) -> None:
    office.issue(Tier.STANDARD)
    hands = Hands()
    hearing = make_hearing(office, hands, shared_engine)
    time.sleep(0.2)

    with hands.ticket():
        assert hearing.deaf_seconds() < 0.2


def test_while_the_broker_is_away_nobody_is_deaf(redis_settings: RedisSettings, shared_engine: Engine) -> None:
    away = redis_settings.model_copy(
        update={"redis_url": f"redis://127.0.0.1:{free_port()}/0", "redis_timeout_seconds": 0.1}
    )
    celery = make_celery(away)
    with make_redis(away) as client:
        assert look_twice(make_hearing(TicketOffice(celery, client), Hands(), shared_engine)) == 0
    celery.close()


def test_a_process_that_itself_stood_still_hears_anew(
    office: TicketOffice, shared_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.issue(Tier.STANDARD)
    hearing = make_hearing(office, Hands(), shared_engine)
    monkeypatch.setattr(module, "GAP_SECONDS", 0.1)

    time.sleep(0.2)

    assert hearing.deaf_seconds() == 0
