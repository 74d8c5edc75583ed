"""Tickets: tiny, bounded, without a job in them; and Celery set up for that."""

from __future__ import annotations

import base64
import json
import time

import pytest
import redis

from darkroom.errors import TicketsUnavailable
from darkroom.jobs import Tier
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from darkroom.tickets import MAX_WAITING, TASK_WORK, TicketOffice, make_celery, queue_name
from tests.fixtures.ports import free_port

TIER = Tier.STANDARD


@pytest.fixture
def office(redis_settings: RedisSettings, redis_client: redis.Redis) -> TicketOffice:
    return TicketOffice(make_celery(redis_settings), redis_client)


def test_ticket_says_there_is_work_in_a_tier_and_nothing_else(office: TicketOffice, redis_client: redis.Redis) -> None:
    assert office.issue(TIER)

    (text,) = redis_client.lrange(queue_name(TIER), 0, -1)
    message = json.loads(text)
    arguments, keywords, _ = json.loads(base64.b64decode(message["body"]))
    assert (message["headers"]["task"], arguments, keywords) == (TASK_WORK, ["standard"], {})
    assert message["content-type"] == "application/json"
    assert "job" not in text.replace(message["headers"]["id"], "")


def test_each_tier_has_its_queue(office: TicketOffice) -> None:
    office.issue(Tier.PREVIEW)

    assert {tier: office.waiting(tier) for tier in Tier} == {Tier.PREVIEW: 1, Tier.STANDARD: 0, Tier.QUALITY: 0}


def test_waiting_tickets_are_bounded(office: TicketOffice, redis_client: redis.Redis) -> None:
    redis_client.rpush(queue_name(TIER), *["{}"] * (MAX_WAITING - 1))

    assert office.issue(TIER, 3) == 1
    assert office.issue(TIER, 3) == 0
    assert office.waiting(TIER) == MAX_WAITING


@pytest.mark.parametrize(
    ("waiting", "claimable", "issued"), [(0, 0, 0), (0, 5, 5), (3, 5, 2), (5, 3, 0), (250, 10_000, 6)]
)
def test_top_up_issues_what_is_missing(
    office: TicketOffice, redis_client: redis.Redis, waiting: int, claimable: int, issued: int
) -> None:
    redis_client.rpush(queue_name(TIER), *["{}"] * waiting) if waiting else None

    assert office.top_up(TIER, claimable) == issued
    assert office.waiting(TIER) == waiting + issued


def test_second_reaper_of_the_same_moment_issues_none(office: TicketOffice, redis_client: redis.Redis) -> None:
    assert office.top_up(TIER, 4) == 4
    redis_client.delete(queue_name(TIER))

    assert office.top_up(TIER, 4) == 0
    assert office.top_up(Tier.QUALITY, 1) == 1


def test_broker_that_is_away_refuses_soon() -> None:
    settings = RedisSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0")

    start = time.monotonic()
    with make_redis(settings) as client, pytest.raises(TicketsUnavailable):
        TicketOffice(make_celery(settings), client).issue(TIER)

    assert time.monotonic() - start < 2


def test_celery_is_set_up_for_tickets(redis_settings: RedisSettings) -> None:
    conf = make_celery(redis_settings).conf

    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.result_backend is None
    assert conf.task_ignore_result
    assert conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_pool == "threads"
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert conf.broker_connection_retry_on_startup
    assert conf.broker_connection_max_retries is None
    assert conf.broker_transport_options["visibility_timeout"] == 300
    assert conf.broker_transport_options["unacked_restore_throttle"] == 1
    assert {queue.name for queue in conf.task_queues} == {queue_name(tier) for tier in Tier}


def test_options_reach_the_transport(redis_settings: RedisSettings) -> None:
    with make_celery(redis_settings).connection_for_read() as connection:
        channel = connection.default_channel
        assert channel.visibility_timeout == 300
        assert channel.unacked_restore_throttle == 1
        assert channel.health_check_interval == 10
        assert channel.socket_timeout >= 5
