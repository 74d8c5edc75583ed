"""The delivery process's composition root: settings in, a courier out, and signals that stop it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from typing import Self

from prometheus_client import start_http_server

from darkroom.delivery_log import DeliveryLog
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.outbox import Outbox
from darkroom.redis_client import make_async_redis, make_redis
from darkroom.sealing import Sealer
from darkroom.settings import (
    DeliverySettings,
    JobSettings,
    LogSettings,
    ObjectStoreSettings,
    RedisSettings,
    SecretSettings,
    WebhookSettings,
)
from darkroom.webhooks import EndpointStore
from worker.delivery.courier import Courier, Stores
from worker.delivery.dialler import Dialler
from worker.teller import Teller

log = get_logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Everything the process reads from the environment."""

    redis: RedisSettings
    secrets: SecretSettings
    webhooks: WebhookSettings
    delivery: DeliverySettings
    log: LogSettings
    public_url: str
    region: str = ""

    @classmethod
    def from_env(cls) -> Self:
        return cls(
            redis=RedisSettings.from_env(),
            secrets=SecretSettings.from_env(),
            webhooks=WebhookSettings.from_env(),
            delivery=DeliverySettings.from_env(),
            log=LogSettings.from_env(),
            public_url=ObjectStoreSettings.from_env().public_url,
            region=JobSettings.from_env().region,
        )


async def deliver(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: a file that the settings name can't be used.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    sealer = Sealer.from_settings(settings.secrets)
    metrics = Metrics()
    metrics.observe_region(settings.region)
    client = make_async_redis(settings.redis)
    dialler = Dialler(settings.webhooks, settings.delivery)
    stores = Stores(Outbox(client), EndpointStore(client, sealer), DeliveryLog(client), sealer)
    courier = Courier(stores, dialler, settings=settings.delivery, public_url=settings.public_url, metrics=metrics)
    if settings.delivery.delivery_metrics_port:
        start_http_server(
            settings.delivery.delivery_metrics_port,
            addr=settings.delivery.delivery_metrics_host,
            registry=metrics.registry,
        )
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    teller = Teller(make_redis(settings.redis), name=name, metrics=metrics)
    teller.start()
    log.info("delivering")
    await courier.run(stop)
    await asyncio.to_thread(teller.stop)
    dialler.close()
    await client.connection_pool.disconnect()
