"""Hands what happens to jobs to those who listen: one reader of the feed a process, however many listeners.

Previews come by a second reader and are not part of the story: of each image a listener has the newest, or none.
A listener has a bounded queue. One that is full, a break in the feed, or a long silence all end the same way: the
listener is told to look at the job itself, so nothing is lost. The reader runs while somebody listens.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.exceptions import NoPermissionError

from darkroom.errors import JobStoreUnavailable
from darkroom.events import EventLog, JobEvent
from darkroom.logs import get_logger
from darkroom.previews import Preview, PreviewFeed

WAITING_EVENTS = 64  # of one listener
OUTAGE_SECONDS = 0.5
log = get_logger(__name__)


class Listener:
    """One who follows one job."""

    def __init__(self) -> None:
        self._events: list[JobEvent] = []
        self._previews: dict[int, Preview] = {}  # by image
        self._missed = False
        self._woken = asyncio.Event()

    def tell(self, event: JobEvent) -> None:
        if len(self._events) < WAITING_EVENTS:
            self._events.append(event)
            self._woken.set()
        else:
            self.look_again()

    def look_again(self) -> None:
        """What it was told is not all; it has to read the job."""
        self._events.clear()
        self._missed = True
        self._woken.set()

    def show(self, preview: Preview) -> None:
        self._previews[preview.image] = preview
        self._woken.set()

    def previews(self) -> list[Preview]:
        """The newest of each image that has one since the last call."""
        previews, self._previews = list(self._previews.values()), {}
        return previews

    async def wait(self, seconds: float) -> list[JobEvent] | None:
        """What came since the last call; None where the job has to be read.

        Raises:
            TimeoutError: nothing came.
        """
        async with asyncio.timeout(seconds):
            await self._woken.wait()
        self._woken.clear()
        events, missed = self._events, self._missed
        self._events, self._missed = [], False
        return None if missed else events


class EventHub:
    """The listeners of one process."""

    def __init__(self, events: EventLog, previews: PreviewFeed | None = None) -> None:
        self.log = events
        self._previews = previews
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @property
    def listening(self) -> int:
        """How many listeners there are."""
        return sum(map(len, self._listeners.values()))

    @asynccontextmanager
    async def listen(self, job_id: str) -> AsyncIterator[Listener]:
        """Be told what happens to the job from now on.

        Raises:
            JobStoreUnavailable: the feed can't be read.
        """
        listener = Listener()
        self._listeners[job_id].add(listener)
        try:
            await self._start()
            yield listener
        finally:
            self._listeners[job_id].discard(listener)
            if not self._listeners[job_id]:
                del self._listeners[job_id]

    async def close(self) -> None:
        """Stop reading."""
        for task in (self._reader, self._watcher):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _start(self) -> None:
        async with self._starting:
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read(await self.log.feed_end()))
            if self._previews is not None and (self._watcher is None or self._watcher.done()):
                self._watcher = asyncio.create_task(self._watch(self._previews))

    async def _read(self, place: str) -> None:
        while self._listeners:
            try:
                place, events = await self.log.news(place)
            except JobStoreUnavailable:
                log.warning("feed_unavailable")
                place = await self._place_after_outage()
                continue
            for event in events:
                for listener in self._listeners.get(event.job, ()):
                    listener.tell(event)

    async def _watch(self, feed: PreviewFeed) -> None:
        """What comes while the server can't be reached is not seen by anybody."""
        while self._listeners:
            try:
                async with feed.listen() as subscription:
                    while self._listeners:
                        if (preview := await feed.next(subscription)) is not None:
                            for listener in self._listeners.get(preview.job, ()):
                                listener.show(preview)
            except JobStoreUnavailable:
                await asyncio.sleep(OUTAGE_SECONDS)
            except NoPermissionError:
                log.warning("previews_not_permitted")
                return

    async def _place_after_outage(self) -> str:
        """The feed may have lost its end meanwhile, so everybody looks at the jobs themselves."""
        while True:
            await asyncio.sleep(OUTAGE_SECONDS)
            with suppress(JobStoreUnavailable):
                place = await self.log.feed_end()
                for listeners in self._listeners.values():
                    for listener in listeners:
                        listener.look_again()
                return place
