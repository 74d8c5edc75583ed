"""What the routes call: the stores, the catalogue, the safety pipeline. Built once a process and passed in.

`connect` builds them from settings; tests build a `Services` of their own. Nothing connects before the first call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import redis
import redis.asyncio
from celery import Celery

from api.readiness import Readiness
from darkroom.catalogue import Catalogue, load_catalogue
from darkroom.delivery_log import DeliveryLog
from darkroom.job_archive import JobArchive
from darkroom.job_store import AsyncJobStore
from darkroom.keys import AsyncKeyStore
from darkroom.metrics import Metrics
from darkroom.near_misses import AsyncNearMisses
from darkroom.object_store import ObjectStore, make_object_store
from darkroom.outbox import Outbox
from darkroom.owners import Owners
from darkroom.policy_approvals import approval_of
from darkroom.redis_client import make_async_redis, make_redis
from darkroom.sealing import Sealer
from darkroom.settings import (
    CatalogueSettings,
    JobSettings,
    ObjectStoreSettings,
    OwnersSettings,
    RedisSettings,
    SafetySettings,
    SecretSettings,
    WebhookSettings,
)
from darkroom.tickets import TicketOffice, make_celery
from darkroom.tokens import PromptReader
from darkroom.webhooks import EndpointStore
from safety.defaults import build_prompt_pipeline
from safety.pipeline import SafetyPipeline
from safety.policy_set import Policies


@dataclass(frozen=True)
class Webhooks:
    """What webhooks are made of, and which receivers the operator allows."""

    endpoints: EndpointStore
    outbox: Outbox
    log: DeliveryLog
    rules: WebhookSettings


@dataclass(frozen=True)
class Services:
    """Everything behind the routes."""

    catalogue: Catalogue
    jobs: AsyncJobStore
    keys: AsyncKeyStore
    sealer: Sealer
    webhooks: Webhooks
    tickets: TicketOffice
    objects: ObjectStore
    url_ttl_seconds: int
    policies: Policies
    near_misses: AsyncNearMisses
    safety: SafetyPipeline
    prompts: PromptReader
    readiness: Readiness
    metrics: Metrics
    threaded_redis: redis.Redis
    looped_redis: redis.asyncio.Redis
    celery: Celery
    owners: Owners = field(default_factory=Owners)

    async def close(self) -> None:
        """Close the connections that were opened."""
        self.celery.close()
        self.threaded_redis.connection_pool.disconnect()
        await self.looped_redis.connection_pool.disconnect()


def connect(
    *,
    redis_settings: RedisSettings,
    job_settings: JobSettings,
    owners_settings: OwnersSettings,
    secret_settings: SecretSettings,
    object_settings: ObjectStoreSettings,
    catalogue_settings: CatalogueSettings,
    safety_settings: SafetySettings,
    webhook_settings: WebhookSettings,
) -> Services:
    """Build the services of one API process.

    Raises:
        ConfigurationError: a setting or a file is not valid.
    """
    threaded, looped = make_redis(redis_settings), make_async_redis(redis_settings)
    celery = make_celery(redis_settings)
    sealer = Sealer.from_settings(secret_settings)
    objects = make_object_store(object_settings)
    jobs = AsyncJobStore(looped, job_settings, sealer, JobArchive(objects, sealer))
    catalogue = load_catalogue(catalogue_settings.catalogue)
    policies = Policies(
        safety_settings.policy_dir,
        default=safety_settings.policy,
        is_approved=approval_of(threaded, safety_settings),
    )
    owners = Owners.from_settings(owners_settings)
    for name in owners.names():
        policies.of(owners.of(name).policy)  # a name that is not there is told at the start
    return Services(
        catalogue=catalogue,
        jobs=jobs,
        keys=AsyncKeyStore(looped),
        sealer=sealer,
        webhooks=Webhooks(EndpointStore(looped, sealer), Outbox(looped), DeliveryLog(looped), webhook_settings),
        tickets=TicketOffice(celery, threaded),
        objects=objects,
        url_ttl_seconds=object_settings.url_ttl_seconds,
        policies=policies,
        near_misses=AsyncNearMisses(looped, safety_settings),
        safety=build_prompt_pipeline(policies.of(None)),
        prompts=PromptReader(catalogue.embeddings),
        readiness=Readiness(jobs, objects),
        metrics=Metrics(),
        threaded_redis=threaded,
        looped_redis=looped,
        celery=celery,
        owners=owners,
    )
