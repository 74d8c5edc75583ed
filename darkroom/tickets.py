"""Tickets: Celery messages that say "there is work in this tier", and nothing else.

A ticket carries no job id and no prompt, so losing or doubling one harms no job; the reaper tops tickets up. Celery is
configured for that: JSON, no result backend, late acknowledgement (so that a ticket can be handed back), a visibility
timeout of minutes. Knows nothing of records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from darkroom.errors import TicketsUnavailable, Transient
from darkroom.jobs import Tier
from darkroom.redis_client import UNAVAILABLE, redis_errors
from darkroom.settings import RedisSettings

TASK_WORK = "darkroom.work"
MAX_WAITING = 256  # tickets of one tier; more carry no more information
VISIBILITY_SECONDS = 300  # over the lease: a ticket seen twice is only an empty claim, so minutes are enough
TOP_UP_SECONDS = 1.9  # one top-up a tier in this time, however many reapers run


def queue_name(tier: Tier) -> str:
    """The Celery queue of a tier, which is also its Redis list."""
    return f"darkroom:tickets:{tier}"


def make_celery(settings: RedisSettings) -> Celery:
    """The Celery application of the API (which only sends) and of the workers."""
    app = Celery("darkroom", broker=settings.connection_url(), set_as_current=False)
    app.conf.update(
        task_queues=[Queue(queue_name(tier), routing_key=queue_name(tier)) for tier in Tier],
        task_default_queue=queue_name(Tier.STANDARD),
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_track_started=False,
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # its reply keys have no expiry
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # threads can't be cancelled; unset, it warns
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever
        broker_channel_error_retry=True,
        broker_transport_options=_transport_options(settings),
        enable_utc=True,
        timezone="UTC",
    )
    return app


def _transport_options(settings: RedisSettings) -> dict[str, Any]:
    return {
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "health_check_interval": 10,
        "socket_connect_timeout": settings.redis_timeout_seconds,
        "socket_timeout": max(settings.redis_timeout_seconds, 5.0),  # a blocking pop alone waits a second
        "socket_keepalive": True,
        # A sender must not hang in a request while the broker is away; the reaper makes up for a lost ticket.
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.2,
    }


class TicketOffice:
    """Issues tickets, never more than `MAX_WAITING` in a tier."""

    def __init__(self, celery: Celery, client: redis.Redis) -> None:
        self._celery = celery
        self._redis = client

    def issue(self, tier: Tier, wanted: int = 1) -> int:
        """Issue so many tickets, or as many as are missing to the bound; how many that was.

        Raises:
            TicketsUnavailable: when the broker doesn't take it.
        """
        with _broker_errors():
            issued = min(wanted, max(MAX_WAITING - self.waiting(tier), 0)) if wanted else 0
            for _ in range(issued):
                self._celery.send_task(
                    TASK_WORK, args=[str(tier)], queue=queue_name(tier), ignore_result=True, retry=False
                )
        return issued

    def top_up(self, tier: Tier, claimable: int) -> int:
        """Issue what is missing so that the waiting tickets cover the claimable jobs; how many that was."""
        with _broker_errors():
            mine = self._redis.set(f"darkroom:topup:{tier}", "1", nx=True, px=round(TOP_UP_SECONDS * 1_000))
            missing = min(claimable, MAX_WAITING) - self.waiting(tier) if mine else 0
        return self.issue(tier, max(missing, 0))

    def waiting(self, tier: Tier) -> int:
        """Tickets that no worker has taken yet."""
        with redis_errors():
            return int(self._redis.llen(queue_name(tier)))


@contextmanager
def _broker_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, Transient, *UNAVAILABLE) as error:
        raise TicketsUnavailable from error
