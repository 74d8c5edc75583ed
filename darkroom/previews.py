"""Pictures of unfinished images on their way from a worker to those who follow the job.

They are handed on by Redis' publish and subscribe, so they are kept nowhere, not even for a replay: who does not listen
when one is published never sees it. The script that publishes drops what comes of an attempt that is over. What may be
shown is decided before this.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

import redis.asyncio
from redis.asyncio.client import PubSub

from darkroom.redis_client import redis_errors

CHANNEL = "darkroom:previews"  # also in preview.lua
MOST_SIDE = 128  # pixels


@dataclass(frozen=True)
class Preview:
    """One picture of one unfinished image."""

    job: str
    attempt: int
    image: int
    step: int  # of this image
    content_type: str
    data: str = field(repr=False)  # base64

    def as_message(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


class PreviewFeed:
    """Hears all previews, on an event loop."""

    def __init__(self, client: redis.asyncio.Redis, *, block_seconds: float = 0.5) -> None:
        """Each wait for one lasts `block_seconds` at most; it must stay under the client's time-out."""
        self._redis = client
        self._block = block_seconds

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[PubSub]:
        """A subscription, to be handed to `next`; it holds a connection of its own.

        Raises:
            JobStoreUnavailable: the server can't be reached.
        """
        async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            with redis_errors():
                await subscription.subscribe(CHANNEL)
            yield subscription

    async def next(self, subscription: PubSub) -> Preview | None:
        """The next preview; None where none came for a while."""
        with redis_errors():
            message = await subscription.get_message(timeout=self._block)
        return None if message is None else Preview(**json.loads(message["data"]))
