"""A courier over a real Valkey, with endpoints and events, for tests that bring the receivers."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from standardwebhooks import Webhook

from darkroom.delivery_log import DeliveryLog
from darkroom.lua_scripts import make_script
from darkroom.metrics import Metrics
from darkroom.outbox import Outbox
from darkroom.redis_client import make_async_redis
from darkroom.sealing import Sealer
from darkroom.settings import DeliverySettings, RedisSettings, WebhookSettings
from darkroom.webhooks import Endpoint, EndpointStore
from tests.fixtures.receiver import Received, Receiver
from worker.delivery.courier import Courier, Stores
from worker.delivery.dialler import Dialler

PUBLIC_URL = "https://darkroom.example.com"
PROMPT = "a planted prompt"
RULES = WebhookSettings(webhook_http=True, webhook_ports="1-65535", webhook_networks="127.0.0.0/8")
_HAPPEN = make_script(
    "happen",
    "local job = cjson.decode(ARGV[2])\nfan_out(ARGV[1], job, ARGV[3], ARGV[4], clock())\nreturn 1",
)


@dataclass
class PostOffice:
    """What a test drives and looks at."""

    client: redis.asyncio.Redis
    stores: Stores
    metrics: Metrics

    async def endpoint(self, receiver: Receiver | int, owner: str = "acme") -> Endpoint:
        port = receiver if isinstance(receiver, int) else receiver.port
        url = f"http://127.0.0.1:{port}/hook?token=planted-token"
        return await self.stores.endpoints.create(owner, url=url, events=(), description="")

    async def happen(self, number: int = 1, *, owner: str = "acme", url: str | None = None) -> str:
        sealed = None if url is None else self.stores.sealer.seal(url)
        return await happen(self.client, number, owner=owner, sealed_url=sealed)

    async def until_empty(self, seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while (await self.stores.outbox.backlog())[0]:  # noqa: ASYNC110 -- it is Valkey that knows
                await asyncio.sleep(0.02)


async def happen(client: redis.asyncio.Redis, number: int, *, owner: str, sealed_url: str | None = None) -> str:
    """A job succeeds; gives the event's id."""
    event = f"evt_{owner}_{number}"
    job: dict[str, Any] = {"owner": owner, "status": "succeeded", "params": PROMPT}
    if sealed_url is not None:
        job["webhook"] = json.dumps({"url": sealed_url, "events": []})
    await client.eval(_HAPPEN.text, 0, f"job_{number}", json.dumps(job), "job.succeeded", event)
    return event


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def post_office(redis_settings: RedisSettings, **settings: Any) -> AsyncIterator[PostOffice]:
    """A courier at work. Its pauses are short."""
    values: dict[str, Any] = {"delivery_retry_seconds": "0.05,0.05,0.05", "delivery_timeout_seconds": 1.0} | settings
    delivery = DeliverySettings(**values)
    client = make_async_redis(redis_settings)
    sealer, metrics, dialler = Sealer([secrets.token_bytes(32)]), Metrics(), Dialler(RULES, delivery)
    stores = Stores(Outbox(client), EndpointStore(client, sealer), DeliveryLog(client), sealer)
    courier = Courier(stores, dialler, settings=delivery, public_url=PUBLIC_URL, metrics=metrics)
    stop = asyncio.Event()
    running = asyncio.create_task(courier.run(stop))
    try:
        yield PostOffice(client, stores, metrics)
    finally:
        stop.set()
        await running
        dialler.close()
        await client.connection_pool.disconnect()


def verified(request: Received, secret: str) -> Any:
    """The body, if the reference library accepts its signature."""
    return Webhook(secret).verify(request.body, dict(request.headers))
