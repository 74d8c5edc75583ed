"""What the routes call: the stores, the catalogue, the safety pipeline. Built once a process and passed in.

`connect` builds them from settings; tests build a `Services` of their own. Nothing connects before the first call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import redis
import redis.asyncio
from celery import Celery

from api.readiness import Readiness
from api.verification import Verification
from darkroom.appeals import Appeals
from darkroom.async_job_store import AsyncJobStore
from darkroom.audit import AsyncAuditLog
from darkroom.catalogue import Catalogue
from darkroom.catalogue_watch import CatalogueWatch
from darkroom.delivery_log import DeliveryLog
from darkroom.job_archive import JobArchive
from darkroom.keys import AsyncKeyStore
from darkroom.legal_hold import LegalHolds
from darkroom.metrics import Metrics
from darkroom.near_misses import AsyncNearMisses
from darkroom.object_store import MeasuredObjectStore, ObjectStore, make_object_store
from darkroom.outbox import Outbox
from darkroom.owner_labels import OwnerLabels
from darkroom.owners import Owners
from darkroom.policy_approvals import approval_of
from darkroom.prices import Prices
from darkroom.redis_client import make_async_redis, make_redis
from darkroom.review import ReviewQueue
from darkroom.review_sessions import ReviewSessions
from darkroom.route_board import RouteBoard
from darkroom.sealing import Sealer
from darkroom.settings import (
    CatalogueSettings,
    JobSettings,
    ObjectStoreSettings,
    OwnersSettings,
    PriceSettings,
    ProvenanceSettings,
    RedisSettings,
    ReviewSettings,
    RewriterSettings,
    SafetySettings,
    SecretSettings,
    WebhookSettings,
)
from darkroom.takedown import Takedowns
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
class Oversight:
    """What people decide, and the log of it. All but `log` block, and are called in threads."""

    queue: ReviewQueue
    appeals: Appeals
    holds: LegalHolds
    takedowns: Takedowns
    log: AsyncAuditLog
    rules: ReviewSettings


@dataclass(frozen=True)
class Services:
    """Everything behind the routes."""

    catalogues: CatalogueWatch
    jobs: AsyncJobStore
    keys: AsyncKeyStore
    sealer: Sealer
    webhooks: Webhooks
    oversight: Oversight
    sessions: ReviewSessions
    tickets: TicketOffice
    objects: ObjectStore
    url_ttl_seconds: int
    public_url: str
    policies: Policies
    near_misses: AsyncNearMisses
    safety: SafetyPipeline
    prompts: PromptReader
    readiness: Readiness
    metrics: Metrics
    threaded_redis: redis.Redis
    looped_redis: redis.asyncio.Redis
    celery: Celery
    verification: Verification
    board: RouteBoard
    owners: Owners = field(default_factory=Owners)
    owner_labels: OwnerLabels = field(default_factory=lambda: OwnerLabels(Owners()))
    prices: Prices = field(default_factory=Prices)

    @property
    def catalogue(self) -> Catalogue:
        """What may be run, as its file says it now."""
        return self.catalogues.now

    def reload_catalogue(self) -> None:
        """Read the catalogue's file where it changed; blocks."""
        if self.catalogues.look():
            self.prompts.replace(self.catalogue.embeddings)
            self.metrics.catalogue_reloads.inc()

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
    provenance_settings: ProvenanceSettings | None = None,
    rewriter_settings: RewriterSettings | None = None,
    review_settings: ReviewSettings,
    price_settings: PriceSettings | None = None,
) -> Services:
    """Build the services of one API process.

    Raises:
        ConfigurationError: a setting or a file is not valid.
    """
    metrics = Metrics()
    metrics.observe_region(job_settings.region)
    threaded, looped = make_redis(redis_settings), make_async_redis(redis_settings)
    celery = make_celery(redis_settings)
    sealer = Sealer.from_settings(secret_settings)
    objects = MeasuredObjectStore(make_object_store(object_settings), metrics.observe_object_store)
    jobs = AsyncJobStore(looped, job_settings, sealer, JobArchive(objects, sealer))
    catalogues = CatalogueWatch.read(catalogue_settings.catalogue)
    policies = Policies(
        safety_settings.policy_dir,
        default=safety_settings.policy,
        is_approved=approval_of(threaded, safety_settings),
    )
    owners = Owners.from_settings(owners_settings)
    for name in owners.names():
        policies.of(owners.of(name).policy)  # a name that is not there is told at the start
    return Services(
        catalogues=catalogues,
        jobs=jobs,
        keys=AsyncKeyStore(looped),
        sealer=sealer,
        webhooks=Webhooks(EndpointStore(looped, sealer), Outbox(looped), DeliveryLog(looped), webhook_settings),
        oversight=Oversight(
            queue=ReviewQueue(threaded, objects, sealer),
            appeals=Appeals(threaded, sealer),
            holds=LegalHolds(threaded, sealer),
            takedowns=Takedowns(threaded, objects),
            log=AsyncAuditLog(looped),
            rules=review_settings,
        ),
        sessions=ReviewSessions(looped, seconds=review_settings.review_session_seconds),
        tickets=TicketOffice(celery, threaded),
        objects=objects,
        url_ttl_seconds=object_settings.url_ttl_seconds,
        public_url=object_settings.public_url,
        policies=policies,
        near_misses=AsyncNearMisses(looped, safety_settings),
        safety=build_prompt_pipeline(policies.of(None), rewriter=rewriter_settings, observe=metrics.observe_check),
        prompts=PromptReader(catalogues.now.embeddings),
        readiness=Readiness(jobs, objects),
        metrics=metrics,
        threaded_redis=threaded,
        looped_redis=looped,
        celery=celery,
        verification=Verification(provenance_settings or ProvenanceSettings(), secret_settings, looped, jobs),
        board=RouteBoard(threaded),
        owners=owners,
        owner_labels=OwnerLabels(owners, owners_settings.listed),
        prices=Prices.from_settings(price_settings or PriceSettings()),
    )
