"""The outbox: what webhooks still have to be sent. The job scripts fill it, in the same step as a job's change.

A delivery is one event for one receiver. It is claimed under a lease and settled once: delivered, due again later, or
given up. What arrived is kept for a while, what was given up for longer, for its owner to replay. At least once, never
lost: who claims and dies, has not settled. Of one owner so many may wait; one more, and the oldest is given up.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from darkroom.lua_scripts import load_script, run_script
from darkroom.redis_client import redis_errors

JOB_TARGET = "job"  # stands for the webhook that a job names itself
TEST_EVENT = "webhook.test"
MOST_UNDELIVERED = 1_000  # of one owner, as in outbox.lua


@dataclass(frozen=True)
class Delivery:
    """One event for one receiver. Times are Unix seconds by Redis' clock."""

    id: str
    event: str  # its id, the same at every attempt and for every receiver
    type: str  # job.succeeded, ...
    owner: str
    target: str  # an endpoint's id, or JOB_TARGET
    time: float  # when it happened
    queued_at: float
    attempt: int  # the number of the attempt that is due or under way; the first is 1
    job: str = ""  # none in a test
    status: str = ""  # of the job, when it happened
    url: str = field(default="", repr=False)  # sealed; only with JOB_TARGET
    token: str = ""  # of the claim
    reason: str = ""  # why it was given up
    given_up_at: float | None = None
    request_id: str = ""  # of the request that made the job
    traceparent: str = ""  # of the trace that the job belongs to


class Outbox:
    """The outbox, for an event loop."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def claim(self, limit: int, *, lease_seconds: float) -> list[Delivery]:
        """Take deliveries that are due; those that are not settled within the lease are due again."""
        claimed = await self._run("outbox_claim", limit, lease_seconds, secrets.token_hex(8))
        return [_delivery(record[0], record[1:]) for record in claimed]

    async def delivered(self, delivery: Delivery) -> None:
        """It arrived."""
        await self._settle(delivery, "delivered")

    async def retry(self, delivery: Delivery, *, after: float) -> None:
        """It did not arrive; try again after so many seconds."""
        await self._settle(delivery, "retry", after=after)

    async def postpone(self, delivery: Delivery, *, after: float) -> None:
        """It was not sent at all; that cost no attempt."""
        await self._settle(delivery, "postpone", after=after)

    async def bury(self, delivery: Delivery, *, reason: str) -> None:
        """It is given up, and kept for its owner."""
        await self._settle(delivery, "bury", reason=reason)

    async def put_test(self, owner: str, endpoint_id: str) -> str:
        """Have a test event sent to an endpoint; gives the event's id."""
        event = f"evt_test_{secrets.token_hex(12)}"
        await self._run("outbox_put", event, endpoint_id, owner, TEST_EVENT)
        return event

    async def undelivered(self, owner: str, *, limit: int) -> list[Delivery]:
        """What was given up of an owner's, latest first."""
        ids = await self._undelivered_ids(owner, limit)
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for delivery_id in ids:
                    pipe.hgetall(f"darkroom:delivery:{delivery_id}")
                records = await pipe.execute()
        return [_read(delivery_id, record) for delivery_id, record in zip(ids, records, strict=True) if record]

    async def replay(self, owner: str, ids: Iterable[str] | None = None) -> int:
        """Make deliveries of an owner due again: given-up ones, all by default, or by id also some that arrived.

        Gives how many there were.
        """
        chosen = list(ids) if ids is not None else await self._undelivered_ids(owner, MOST_UNDELIVERED)
        return int(await self._run("outbox_replay", owner, *chosen))

    async def backlog(self) -> tuple[int, float, int]:
        """How many deliveries wait, for how long the first one due has been due, how many were ever too many."""
        waiting, overdue, too_many = await self._run("outbox_backlog")
        return int(waiting), float(overdue), int(too_many)

    async def _undelivered_ids(self, owner: str, limit: int) -> list[str]:
        with redis_errors():
            ids = await self._redis.zrevrange(f"darkroom:undelivered:{owner}", 0, limit - 1)
        return [str(delivery_id) for delivery_id in ids]

    async def _settle(self, delivery: Delivery, verb: str, *, after: float = 0.0, reason: str = "") -> None:
        await self._run("outbox_settle", delivery.id, delivery.token, verb, after, reason)

    async def _run(self, name: str, *args: str | float) -> Any:
        script = load_script(name)
        with redis_errors():
            try:
                return await self._redis.evalsha(script.sha, 0, *args)
            except NoScriptError:  # a fresh or restarted server
                return await self._redis.eval(script.text, 0, *args)


def backlog(client: redis.Redis) -> tuple[int, float, int]:
    """`Outbox.backlog`, for a thread."""
    waiting, overdue, too_many = run_script(client, "outbox_backlog")
    return int(waiting), float(overdue), int(too_many)


def delivery_id(event: str, target: str) -> str:
    """The id of the delivery that brings the event there, as outbox.lua makes it."""
    return f"{event}:{target}"


def _delivery(delivery_id: str, flat: list[str]) -> Delivery:
    return _read(delivery_id, dict(zip(flat[::2], flat[1::2], strict=True)))


def _read(delivery_id: str, record: Mapping[Any, Any]) -> Delivery:
    given_up = record.get("given_up_at")
    return Delivery(
        id=delivery_id,
        event=record["event"],
        type=record["type"],
        owner=record["owner"],
        target=record["target"],
        time=float(record["time"]),
        queued_at=float(record["queued_at"]),
        attempt=int(record["attempt"]) + (0 if given_up else 1),
        job=record.get("job", ""),
        status=record.get("job_status", ""),
        url=record.get("url", ""),
        token=record.get("token", ""),
        reason=record.get("reason", ""),
        given_up_at=float(given_up) if given_up else None,
        request_id=record.get("request_id", ""),
        traceparent=record.get("traceparent", ""),
    )
