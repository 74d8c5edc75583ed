"""The worker's composition root: settings in, one process' parts out.

Celery calls `start` once a process, in its `worker_init` (with a thread pool the per-child signals never come), and
`worker_shutting_down` inside the signal handler of SIGTERM. Nothing is built at import: `celery -A worker.app:celery`
asks for the attribute, and only then the environment is read.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from celery import Celery, signals

from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.catalogue import AdapterSpec, Catalogue, ModelSpec
from darkroom.catalogue_watch import CatalogueWatch
from darkroom.errors import ConfigurationError, DarkroomError, JobStoreUnavailable
from darkroom.job_archive import JobArchive
from darkroom.job_store import JobStore
from darkroom.jobs import Tier
from darkroom.logs import configure_logging, get_logger
from darkroom.metrics import Metrics
from darkroom.near_misses import NearMisses
from darkroom.object_store import MeasuredObjectStore, make_object_store
from darkroom.owner_labels import OwnerLabels
from darkroom.policy_approvals import approval_of
from darkroom.redis_client import make_redis
from darkroom.review import ReviewQueue
from darkroom.route_board import RouteBoard
from darkroom.sealing import Sealer
from darkroom.settings import (
    CatalogueSettings,
    ImageCheckSettings,
    JobSettings,
    LogSettings,
    ObjectStoreSettings,
    OtelSettings,
    OwnersSettings,
    ProvenanceSettings,
    RedisSettings,
    ReviewSettings,
    SafetySettings,
    SecretSettings,
    WorkerSettings,
)
from darkroom.takedown import Takedowns
from darkroom.tickets import TASK_WORK, TicketOffice, make_celery
from darkroom.tracing import configure_tracing
from darkroom.worker_registry import WorkerRegistry
from engine import AdapterFile, Engine, PipelineSpec
from engine.textual_inversion import EmbeddingFile
from safety.defaults import all_rewriters, quick_prompt_checks
from safety.pipeline import SafetyPipeline
from safety.policy_set import Policies
from worker.catalogue_follower import CatalogueFollower
from worker.certificates import CertificateDates, Certificates, watched
from worker.device_gauges import watch_device
from worker.drain import Drain
from worker.hands import Hands
from worker.hearing import Hearing
from worker.heartbeat import Heartbeat
from worker.helper import Helper
from worker.image_checks import ImageChecks
from worker.marking import Marking
from worker.observer import EngineMetrics
from worker.orphans import Orphans
from worker.presence import Presence
from worker.previews import Previews
from worker.prompt_checks import PromptChecks
from worker.reaper import Reaper
from worker.retention import Retention
from worker.route_watch import RouteWatch
from worker.runner import JobRunner
from worker.safety_checks import build_image_checks, image_pipeline
from worker.slow_prompt_checks import CheckSettings, slow_prompt_checks
from worker.status_server import serve_status
from worker.tasks import Work
from worker.teller import Teller
from worker.watchdog import Watchdog

log = get_logger(__name__)

EXIT_FAULT = 1
EXIT_BAD_START = 2


@dataclass(frozen=True)
class Settings:
    """What a worker reads from the environment."""

    redis: RedisSettings
    jobs: JobSettings
    secrets: SecretSettings
    objects: ObjectStoreSettings
    owners: OwnersSettings
    catalogue: CatalogueSettings
    worker: WorkerSettings
    safety: SafetySettings
    image_checks: ImageCheckSettings
    prompt_checks: CheckSettings
    provenance: ProvenanceSettings
    review: ReviewSettings
    log: LogSettings
    traces: OtelSettings

    @classmethod
    def from_env(cls) -> Settings:
        return cls(
            redis=RedisSettings.from_env(),
            jobs=JobSettings.from_env(),
            secrets=SecretSettings.from_env(),
            objects=ObjectStoreSettings.from_env(),
            owners=OwnersSettings.from_env(),
            catalogue=CatalogueSettings.from_env(),
            worker=WorkerSettings.from_env(),
            safety=SafetySettings.from_env(),
            image_checks=ImageCheckSettings.from_env(),
            prompt_checks=CheckSettings.from_env(),
            provenance=ProvenanceSettings.from_env(),
            review=ReviewSettings.from_env(),
            log=LogSettings.from_env(),
            traces=OtelSettings.from_env(),
        )


class WorkerProcess:
    """One worker process: its Celery app at once, everything else when the worker starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.drain = Drain(grace_seconds=settings.worker.grace_seconds, terminate=leave)
        self.celery = make_celery(settings.redis)
        self._work: Work | None = None
        self._engine: Engine | None = None
        self._helper: Helper | None = None
        self.celery.task(name=TASK_WORK, shared=False)(self._work_off)
        signals.setup_logging.connect(self._set_up_logging, weak=False)
        signals.worker_init.connect(self._on_worker_init, weak=False)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)

    def start(self) -> None:
        """Build the parts, load the models and start the threads.

        Raises:
            DarkroomError: with one sentence that says what keeps the worker from starting.
        """
        settings, metrics = self.settings, Metrics()
        metrics.observe_region(settings.jobs.region)
        client = make_redis(settings.redis)
        objects = MeasuredObjectStore(make_object_store(settings.objects), metrics.observe_object_store)
        sealer = Sealer.from_settings(settings.secrets)
        jobs = JobStore(client, settings.jobs, sealer, JobArchive(objects, sealer))
        policies = Policies(
            settings.safety.policy_dir,
            default=settings.safety.policy,
            is_approved=approval_of(client, settings.safety),
        )
        looks = build_image_checks(settings.image_checks, barred=Takedowns(client, objects).barred)
        images = image_pipeline(policies.of(None), looks, observe=metrics.observe_check)
        checks = ImageChecks(images, metrics=metrics, policies=policies)
        watch = CatalogueWatch.read(settings.catalogue.catalogue)
        catalogue = watch.now
        engine = self._engine = _start_engine(catalogue, settings.worker, metrics)
        heartbeat = Heartbeat(jobs, seconds=settings.worker.heartbeat_seconds, metrics=metrics)
        review = ReviewQueue(client, objects, sealer)
        hands, office = Hands(), TicketOffice(self.celery, client)
        reaper = Reaper(
            jobs,
            office,
            tiers=settings.worker.tiers,
            seconds=settings.worker.reaper_seconds,
            # A heartbeat that waits for a reply while the store is away renews within both.
            grace_seconds=settings.worker.heartbeat_seconds + settings.redis.redis_timeout_seconds,
            metrics=metrics,
            orphans=Orphans(jobs, objects, age_seconds=settings.worker.orphan_seconds),
            audit=AuditSegments(AuditLog(client), objects),
            review=functools.partial(review.expire, after_seconds=settings.review.review_ttl_seconds),
        )
        retention = Retention(
            jobs, objects, client, name=self.name, seconds=settings.worker.reaper_seconds, metrics=metrics
        )
        teller = Teller(client, name=self.name, metrics=metrics)
        runner = JobRunner(
            engine=engine,
            checks=checks,
            jobs=jobs,
            objects=objects,
            heartbeat=heartbeat,
            drain=self.drain,
            metrics=metrics,
            owner_labels=OwnerLabels.from_settings(settings.owners),
            previews=Previews(checks, publish=jobs.preview, metrics=metrics).of_image,
            marking=Marking.from_settings(settings.provenance, settings.secrets, client, sealer),
            prompts=_prompt_checks(
                settings.prompt_checks, policies, catalogue, metrics, NearMisses(client, settings.safety)
            ),
        )
        self._work = Work(
            jobs=jobs,
            runner=runner,
            engine=engine,
            drain=self.drain,
            hands=hands,
            worker=self.name,
            models=catalogue.models,
            lease_seconds=settings.worker.lease_seconds,
        )
        places = settings.worker.worker_concurrency
        hearing = Hearing(office, hands, engine, tiers=settings.worker.tiers, places=places)
        watchdog = Watchdog(engine, hearing, self.drain, abandon=lambda: self._abandon(heartbeat, jobs))
        presence = Presence(
            WorkerRegistry(client),
            engine,
            hands,
            self.drain,
            name=self.name,
            tiers=lambda: settings.worker.tiers,
            places=places,
        )
        follower = CatalogueFollower(
            watch,
            engine=engine,
            work=self._work,
            drain=self.drain,
            client=client,
            pipeline=_pipeline_spec,
            metrics=metrics,
        )
        routes = RouteWatch(RouteBoard(client), jobs, catalogue=lambda: watch.now, metrics=metrics)
        if settings.worker.helped_tiers:
            self._helper = Helper(
                self._work,
                engine,
                hands,
                self.drain,
                tiers=settings.worker.helped_tiers,
                idle_seconds=settings.worker.help_idle_seconds,
                places=places,
                metrics=metrics,
            )
            self._helper.start()
        self._serve_status(metrics, watchdog)
        dates = CertificateDates(_certificates(settings), metrics=metrics)
        for part in (dates, heartbeat, reaper, retention, watchdog, presence, teller, follower, routes):
            part.start()
        log.info("worker_started", worker=self.name, models=sorted(catalogue.models), device=str(engine.device))

    def _serve_status(self, metrics: Metrics, watchdog: Watchdog) -> None:
        where = self.settings.worker
        if where.metrics_port:
            serve_status(
                where.metrics_host,
                where.metrics_port,
                metrics=metrics,
                health=lambda: self.drain.reason or watchdog.engine_finding(),
            )

    def _work_off(self, tier: str) -> None:
        assert self._work is not None, "worker_init comes before the first ticket"
        self._work.work(Tier(tier))

    def _set_up_logging(self, **_: Any) -> None:
        configure_logging(self.settings.log.log_level, service="worker", region=self.settings.jobs.region)

    def _on_worker_init(self, **_: Any) -> None:
        """Celery only logs what a signal's receiver raises, so a bad start has to be an exit."""
        try:
            configure_tracing(self.settings.traces, service="worker")
            self.start()
        except DarkroomError as error:
            refuse(error)

    def _on_shutting_down(self, **_: Any) -> None:
        self.drain.begin()

    def _on_shutdown(self, **_: Any) -> None:
        """The task threads have ended. A device thread that stands still is left behind: it can't be joined."""
        if self._helper is not None:
            self._helper.finish()
        if self._engine is not None and self.drain.reason is None:
            self._engine.stop()

    def _abandon(self, heartbeat: Heartbeat, jobs: JobStore) -> NoReturn:
        """End the process although threads are still at work; what they hold goes back first."""
        left = heartbeat.claims()
        log.warning("worker_abandons", jobs=len(left))
        with suppress(JobStoreUnavailable):
            for claim in left:
                jobs.release(claim, broke=self.drain.broken)
        logging.shutdown()
        os._exit(0 if self.drain.reason is None else EXIT_FAULT)


def leave() -> None:
    """Ask Celery for an orderly end of this process."""
    os.kill(os.getpid(), signal.SIGTERM)


def refuse(error: DarkroomError) -> NoReturn:
    """End the start-up with one sentence."""
    sys.stderr.write(f"darkroom worker: {error.detail}\n")
    raise SystemExit(EXIT_BAD_START)


def _certificates(settings: Settings) -> Certificates:
    urls = {
        "public": settings.objects.public_url,
        "objects": settings.objects.s3_endpoint_url,
        "redis": settings.redis.redis_url,
    }
    return watched(signing=settings.provenance.c2pa_cert_file, urls=urls)


def _prompt_checks(
    settings: CheckSettings, policies: Policies, catalogue: Catalogue, metrics: Metrics, near_misses: NearMisses
) -> PromptChecks:
    """The prompt stage with every check of this worker; without slow ones it repeats nothing that the API has done."""
    slow = slow_prompt_checks(settings)
    pipeline = SafetyPipeline(
        policy=policies.of(None),
        prompt_checks=(*quick_prompt_checks(), *slow),
        rewriters=all_rewriters(settings.rewriter),
        slow=True,
        observe=metrics.observe_check,
    )
    return PromptChecks(
        pipeline,
        policies=policies,
        adapters=catalogue.adapters,
        metrics=metrics,
        near_misses=near_misses,
        idle=not slow,
    )


def _start_engine(catalogue: Catalogue, settings: WorkerSettings, metrics: Metrics) -> Engine:
    """An engine with its models loaded: every one of the catalogue, or those that fit the budget, the default first.

    What can't be loaded is known before the first job.
    """
    if settings.torch_threads:
        torch.set_num_threads(settings.torch_threads)
    try:
        engine = Engine(
            {name: _pipeline_spec(spec, catalogue) for name, spec in catalogue.models.items()},
            device=settings.device,
            max_rows=settings.max_rows,
            profile_seconds=settings.profile_seconds,
            models_budget_bytes=settings.models_budget,
            compile_unet=settings.compile,
            adapters={name: _adapter_file(spec) for name, spec in catalogue.adapters.items()},
            observer=EngineMetrics(metrics, max_rows=settings.max_rows),
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(f"DARKROOM_DEVICE or DARKROOM_MAX_ROWS is not valid: {error}") from error
    metrics.engine_samples.set_function(lambda: engine.stats().running)
    metrics.adapters_resident.set_function(lambda: len(engine.stats().adapters))
    watch_device(metrics, engine.device)
    engine.preload(sorted(catalogue.models, key=lambda name: name != catalogue.default))
    engine.start()
    return engine


def _pipeline_spec(spec: ModelSpec, catalogue: Catalogue) -> PipelineSpec:
    source = spec.source
    own = (entry for entry in catalogue.embeddings.values() if entry.model == spec.name)
    return PipelineSpec(
        name=spec.name,
        source=str(source.folder or source.file or source.hub),
        family=spec.family,
        revision=source.revision,
        config=str(source.config) if source.config else None,
        dtype=spec.dtype,
        memory=spec.memory,
        sizes=spec.native_sizes,
        embeddings=tuple(EmbeddingFile(entry.name, entry.token, entry.file, entry.sha256) for entry in own),
    )


def _adapter_file(spec: AdapterSpec) -> AdapterFile:
    return AdapterFile(name=spec.name, model=spec.model, path=spec.file, sha256=spec.sha256)


def __getattr__(name: str) -> Celery:
    if name != "celery":
        raise AttributeError(name)
    try:
        return WorkerProcess(Settings.from_env()).celery
    except DarkroomError as error:
        refuse(error)
