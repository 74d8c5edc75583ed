"""Carries deliveries from the outbox to their receivers: claim, look up, sign, post, note what came of it.

A delivery is claimed under a lease, so a process that dies loses nothing: another one sends it again, under the same
event id. What is sent is thin: the event's type and time, the job's id, status and link. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from darkroom.clock import unix_time
from darkroom.delivery_log import DeliveryLog, LogEntry
from darkroom.errors import JobStoreUnavailable, SealBroken
from darkroom.logs import bind_job, get_logger
from darkroom.metrics import Metrics
from darkroom.outbox import JOB_TARGET, Delivery, Outbox
from darkroom.sealing import Sealer
from darkroom.settings import DeliverySettings
from darkroom.tracing import Step, continued, describe, span
from darkroom.webhook_signing import SigningSecret, signed_headers
from darkroom.webhooks import EndpointStore
from worker.delivery.body import make_body
from worker.delivery.dialler import DialFailed, Dialler
from worker.delivery.lanes import Lane, Lanes
from worker.delivery.schedule import GONE, THROTTLED, longest_life, next_pause, read_retry_after

log = get_logger(__name__)
POLL_SECONDS = 0.25
OUTAGE_SECONDS = 1.0
MOST_CLAIMED = 64


@dataclass(frozen=True)
class Stores:
    """What the courier reads and writes."""

    outbox: Outbox
    endpoints: EndpointStore
    log: DeliveryLog
    sealer: Sealer


@dataclass(frozen=True)
class Target:
    """Where a delivery goes now, and who signs."""

    url: str
    secrets: Sequence[SigningSecret]


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt."""

    status: int | None = None
    failure: str | None = None
    asked: float | None = None  # seconds of `Retry-After`
    seconds: float = 0.0
    final: bool = False  # no other attempt can do better

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Undeliverable(Exception):
    """There is nowhere to send it; the message is the reason, in a word."""


class Courier:
    """Delivers until it is told to stop."""

    def __init__(
        self, stores: Stores, dialler: Dialler, *, settings: DeliverySettings, public_url: str, metrics: Metrics
    ) -> None:
        self._stores = stores
        self._dialler = dialler
        self._pauses = settings.pauses
        self._concurrency = settings.delivery_concurrency
        self._lease_seconds = settings.delivery_timeout_seconds + settings.delivery_lease_spare_seconds
        self._public_url = public_url.rstrip("/")
        self._metrics = metrics
        self._lanes = Lanes(width=settings.delivery_per_endpoint)
        self._dice = random.Random()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then finish what is under way."""
        while not stop.is_set():
            try:
                pause = await self._round()
            except JobStoreUnavailable:
                log.warning("outbox_unavailable")
                pause = OUTAGE_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _round(self) -> float:
        """Send off what is due; gives the pause before the next round."""
        if len(self._under_way) >= self._concurrency:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        limit = min(self._concurrency - len(self._under_way), MOST_CLAIMED)
        claimed = await self._stores.outbox.claim(limit, lease_seconds=self._lease_seconds)
        for delivery in claimed:
            await self._admit(delivery)
        if len(claimed) == limit:
            return 0.0
        return POLL_SECONDS

    async def _admit(self, delivery: Delivery) -> None:
        now = time.monotonic()
        lane = self._lanes.of((delivery.owner, self._receiver(delivery)), now)
        turn = lane.enter(now)
        if turn is not None:
            await self._stores.outbox.postpone(delivery, after=turn - now)
            return
        task = asyncio.create_task(self._carry(delivery, lane))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _receiver(self, delivery: Delivery) -> str:
        """Whose lane it takes: an endpoint's, or that of the host which a job named."""
        if delivery.target != JOB_TARGET:
            return delivery.target
        with suppress(SealBroken, ValueError):
            return urlsplit(self._stores.sealer.open(delivery.url)).netloc
        return JOB_TARGET

    async def _carry(self, delivery: Delivery, lane: Lane) -> None:
        """One attempt, from looking the receiver up to noting what came of it."""
        outcome = Outcome()
        try:
            with (
                continued(delivery.traceparent),
                bind_job(delivery.job, request_id=delivery.request_id),
                span(Step.WEBHOOK, kind=SpanKind.CLIENT, job=delivery.job, event=delivery.type),
            ):
                outcome = await self._attempt(delivery)
                await self._settle(delivery, outcome)
        except JobStoreUnavailable:  # the lease ends, and the delivery is due again
            log.warning("delivery_interrupted", event_id=delivery.event)
        finally:
            throttled = outcome.asked if outcome.status in THROTTLED else None
            failed = outcome.seconds > 0 and not outcome.succeeded
            lane.leave(time.monotonic(), seconds=outcome.seconds, failed=failed, closed_for=throttled or 0.0)

    async def _attempt(self, delivery: Delivery) -> Outcome:
        try:
            target = await self._look_up(delivery)
        except Undeliverable as reason:
            return Outcome(failure=str(reason), final=True)
        body = make_body(delivery, public_url=self._public_url)
        now, began = unix_time(), time.monotonic()
        signed = signed_headers(target.secrets, event_id=delivery.event, body=body, now=now)
        headers = {"Content-Type": "application/json", "User-Agent": "Darkroom", **signed}
        try:
            reply = await self._dialler.post(target.url, headers=headers, body=body)
        except DialFailed as failed:
            return Outcome(failure=str(failed.failure), seconds=time.monotonic() - began)
        return Outcome(
            status=reply.status,
            asked=read_retry_after(reply.retry_after, now=now),
            seconds=time.monotonic() - began,
            final=reply.status == GONE,
        )

    async def _look_up(self, delivery: Delivery) -> Target:
        """Where the delivery goes.

        Raises:
            Undeliverable: nowhere any more.
        """
        try:
            if delivery.target == JOB_TARGET:
                url = self._stores.sealer.open(delivery.url)
                return Target(url, await self._stores.endpoints.owner_secrets(delivery.owner))
            endpoint = await self._stores.endpoints.find(delivery.owner, delivery.target)
        except SealBroken:
            raise Undeliverable("unreadable") from None
        if endpoint is None:
            raise Undeliverable("endpoint_deleted")
        if not endpoint.enabled:
            raise Undeliverable("endpoint_disabled")
        return Target(endpoint.url, endpoint.secrets)

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Write down what came of an attempt: done, again later, or never again."""
        pause = None
        if outcome.status == GONE:
            await self._disable(delivery)
        if outcome.succeeded:
            result = "delivered"
            await self._stores.outbox.delivered(delivery)
        else:
            pause = self._pause(delivery, outcome)
            result = "dead" if pause is None else "retried"
            if pause is None:
                await self._stores.outbox.bury(delivery, reason=outcome.failure or f"status_{outcome.status}")
            else:
                await self._stores.outbox.retry(delivery, after=pause)
        await self._note(delivery, outcome, result=result, pause=pause)

    def _pause(self, delivery: Delivery, outcome: Outcome) -> float | None:
        overdue = unix_time() - delivery.queued_at > longest_life(self._pauses)
        if outcome.final or overdue:
            return None
        return next_pause(self._pauses, attempt=delivery.attempt, asked=outcome.asked, dice=self._dice)

    async def _disable(self, delivery: Delivery) -> None:
        if delivery.target != JOB_TARGET:
            await self._stores.endpoints.disable(delivery.owner, delivery.target, because="gone")
            log.info("endpoint_disabled", endpoint=delivery.target)

    async def _note(self, delivery: Delivery, outcome: Outcome, *, result: str, pause: float | None) -> None:
        describe(attempt=delivery.attempt, outcome=result)
        self._metrics.webhook_deliveries.labels(result).inc()
        self._metrics.webhook_time.observe(outcome.seconds)
        now = unix_time()
        if result == "delivered":
            self._metrics.webhook_lag.observe(max(0.0, now - delivery.time))
        log.info(
            "webhook_attempted",
            event_id=delivery.event,
            result=result,
            status=outcome.status,
            failure=outcome.failure,
        )
        entry = LogEntry(
            event=delivery.event,
            type=delivery.type,
            job=delivery.job,
            attempt=delivery.attempt,
            at=now,
            result=result,
            status=outcome.status,
            failure=outcome.failure,
            seconds=round(outcome.seconds, 3),
            next_at=None if pause is None else now + pause,
        )
        await self._stores.log.add(delivery.owner, delivery.target, entry)
