"""Writes a job's events to one caller as server-sent events, until the job's end, the caller's leaving or a stall.

The end of the process ends the stream too. A caller that doesn't take what it is sent is cut off; it comes back with
`Last-Event-ID` and misses nothing. Comments (pings) keep idle connections open through proxies.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from datetime import UTC, datetime

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.event_hub import EventHub
from darkroom.errors import InvalidRequest, JobStoreUnavailable
from darkroom.events import JobEvent, order, story
from darkroom.jobs import Job
from darkroom.previews import Preview

PING_SECONDS = 15.0
SEND_SECONDS = 20.0  # in which a caller has to take what it is sent
RETRY_MILLISECONDS = 2_000
PING = b": ping\n\n"
#: Gives the job anew, as its owner may read it.
ReadJob = Callable[[], Awaitable[Job]]


async def follow(
    read_job: ReadJob, hub: EventHub, job_id: str, *, owner: str, after: str, ping_seconds: float = PING_SECONDS
) -> AsyncGenerator[JobEvent | Preview | None]:
    """Events that come after a place, until the job has ended; None now and then where nothing happens.

    Previews come between them as they are heard, and never again.
    """
    async with hub.listen(job_id, owner=owner) as listener:
        news: Iterable[JobEvent] = await _whole_story(read_job, hub, job_id)
        while not listener.dismissed:
            for event in news:
                if order(event.place) > order(after):
                    after = event.place
                    yield event
                if event.status.is_terminal:
                    return
            told: list[JobEvent] | None = None
            try:
                told = await listener.wait(ping_seconds)
            except TimeoutError:
                yield None
            for preview in listener.previews():
                yield preview
            if told is not None:
                news = told
                continue
            try:
                news = await _whole_story(read_job, hub, job_id)
            except JobStoreUnavailable:
                news = ()  # the hub tells when it is back
            except InvalidRequest:
                return  # the job was deleted


async def _whole_story(read_job: ReadJob, hub: EventHub, job_id: str) -> list[JobEvent]:
    job = await read_job()
    return story(job, await hub.log.of_job(job_id))


def encode(event: JobEvent | Preview) -> bytes:
    """The event as it is sent. A preview has no id: it has no place in the story, and can't be gone back to."""
    if isinstance(event, Preview):
        return f"event: preview\ndata: {event.as_message()}\n\n".encode()
    moment = datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data: dict[str, str | int] = {"job": event.job, "status": event.status, "time": moment, "attempt": event.attempt}
    if event.step is not None and event.steps is not None:
        data |= {"step": event.step, "steps": event.steps}
    if event.code is not None:
        data["code"] = event.code
    text = json.dumps(data, separators=(",", ":"))
    return f"id: {event.place}\nevent: {event.name}\ndata: {text}\n\n".encode()


class EventStream(Response):
    """The answer that goes on."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(
        self,
        events: AsyncGenerator[JobEvent | Preview | None],
        *,
        until: Callable[[], Awaitable[None]] | None = None,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        """The answer ends with the events, or when `until` returns."""
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._until = until
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's own names
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
            if self._until is not None:
                group.start_soon(_cancel_after, self._until, group.cancel_scope)
            with suppress(TimeoutError):
                await self._write(send)
            group.cancel_scope.cancel()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            await self._send(send, f"retry: {RETRY_MILLISECONDS}\n\n".encode())
            async for event in events:
                await self._send(send, PING if event is None else encode(event))
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._send_seconds):
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
    await wait()
    scope.cancel()


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
