"""Hands what happens to jobs to those who listen: one reader of the feed a process, however many listeners.

Previews come by a second reader and are not part of the story: of each image a listener has the newest, or none.
A listener has a bounded queue. One that is full, a break in the feed, or a long silence all end the same way: the
listener is told to look at the job itself, so nothing is lost. The reader runs while somebody listens. An owner may
have so many listeners; when the process is about to end, all are told to go, and come back to another one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.exceptions import NoPermissionError

from darkroom.errors import Allowance, JobStoreUnavailable, TooManyListeners
from darkroom.events import EventLog, JobEvent
from darkroom.logs import get_logger
from darkroom.previews import Preview, PreviewFeed

WAITING_EVENTS = 64  # of one listener
OUTAGE_SECONDS = 0.5
COME_BACK_SECONDS = 5  # after which one who was over the cap may try again
log = get_logger(__name__)


class Listener:
    """One who follows one job."""

    def __init__(self) -> None:
        self._events: list[JobEvent] = []
        self._previews: dict[int, Preview] = {}  # by image
        self._missed = False
        self._woken = asyncio.Event()
        self.dismissed = False  # nothing more comes

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

    def dismiss(self) -> None:
        """Tell it to go."""
        self.dismissed = True
        self._woken.set()

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

    def __init__(self, events: EventLog, previews: PreviewFeed | None = None, *, most_of_an_owner: int = 0) -> None:
        """`most_of_an_owner` listeners may be there at once; 0 sets no limit."""
        self.log = events
        self._previews = previews
        self._most = most_of_an_owner
        self._owners: Counter[str] = Counter()
        self._ending = False
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @property
    def listening(self) -> int:
        """How many listeners there are."""
        return sum(map(len, self._listeners.values()))

    def has_room(self, owner: str) -> bool:
        """Whether the owner may have one listener more."""
        return not self._most or self._owners[owner] < self._most

    def require_room(self, owner: str) -> None:
        """Be sure that the owner may have one listener more.

        Raises:
            TooManyListeners: there are as many as may be.
        """
        if not self.has_room(owner):
            allowance = Allowance("listeners", self._most, None, 0, COME_BACK_SECONDS)
            raise TooManyListeners(allowance, retry_seconds=COME_BACK_SECONDS)

    @asynccontextmanager
    async def listen(self, job_id: str, *, owner: str) -> AsyncIterator[Listener]:
        """Be told what happens to the owner's job from now on.

        Raises:
            JobStoreUnavailable: the feed can't be read.
        """
        listener = Listener()
        self._listeners[job_id].add(listener)
        self._owners[owner] += 1
        if self._ending:
            listener.dismiss()
        try:
            await self._start()
            yield listener
        finally:
            self._owners[owner] -= 1
            self._owners += Counter()  # forgets those who have none
            self._listeners[job_id].discard(listener)
            if not self._listeners[job_id]:
                del self._listeners[job_id]

    def dismiss_all(self) -> None:
        """Tell everybody to go, and whoever still comes: the process is about to end."""
        self._ending = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.dismiss()

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
