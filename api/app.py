"""Puts the HTTP side together: middleware, error handlers, routes. The composition root of the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api.body_limit import BodyLimit
from api.event_hub import EventHub
from api.http_metrics import PROBES, HttpMetrics
from api.limits import make_limits
from api.metrics_port import MetricsPort
from api.openapi import document
from api.problems import AnswerCrashes, on_darkroom_error, on_http_exception, on_validation_error
from api.request_ids import RequestIds
from api.routes import (
    adapters,
    admin,
    appeals,
    docs,
    events,
    generate,
    health,
    jobs,
    models,
    objects,
    ratings,
    recipes,
    review,
    review_page,
    usage,
    verify,
    webhooks,
)
from api.security_headers import SecurityHeaders
from api.services import Services
from api.submission import Submission
from darkroom import __version__
from darkroom.catalogue_watch import LOOK_SECONDS
from darkroom.errors import DarkroomError
from darkroom.events import EventLog
from darkroom.logs import get_logger
from darkroom.object_store import LocalObjectStore, plain_store
from darkroom.previews import PreviewFeed
from darkroom.settings import ApiSettings

log = get_logger(__name__)
DESCRIPTION = (
    "Images from text, asynchronously: submit a prompt, get a job at once, read the job until its images are there. "
    "Every error is an RFC 9457 problem with a stable `code`."
)


def create_app(*, settings: ApiSettings, services: Services) -> FastAPI:
    """The ASGI application over the given services; it closes them when it shuts down."""
    app = FastAPI(
        title="Darkroom",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=_middleware(settings, services),
        exception_handlers={
            DarkroomError: on_darkroom_error,
            RequestValidationError: on_validation_error,
            HTTPException: on_http_exception,
        },
        # Its log records carry validation messages; metrics are our own. Its spans carry queries, and a link's query is
        # the right to fetch; what else they say is cut down on the way out (darkroom.trace_export).
        telemetry={
            "logs": False,
            "metrics": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": _is_untraced,
        },
    )
    app.state.settings = settings
    app.state.services = services
    app.state.limits = make_limits(settings, services)
    app.state.submission = Submission(services)
    app.state.hub = EventHub(
        EventLog(services.looped_redis),
        PreviewFeed(services.looped_redis),
        most_of_an_owner=settings.max_listeners,
    )
    _include_routes(app, settings, services)
    app.openapi = _document_once(app, services)  # type: ignore[method-assign]
    return app


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    """Links, and what machines ask every few seconds."""
    path = str(scope.get("path", ""))
    return path.startswith("/objects/") or path in PROBES


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    reloads = asyncio.create_task(_reload_catalogue(app.state.services))
    yield
    reloads.cancel()
    await app.state.hub.close()
    await app.state.submission.close()
    await app.state.services.close()


async def _reload_catalogue(services: Services) -> None:
    """Look at the catalogue's file now and then; files are read beside the loop."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await asyncio.to_thread(services.reload_catalogue)
        except Exception as error:  # noqa: BLE001 - what counted before goes on counting
            log.warning("catalogue_not_looked_at", error=type(error).__name__)


def _middleware(settings: ApiSettings, services: Services) -> list[Middleware]:
    """Outermost first."""
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Prefer", "X-Request-ID"],
        expose_headers=[
            "Location",
            "Retry-After",
            "Preference-Applied",
            "Idempotency-Replayed",
            "RateLimit",
            "RateLimit-Policy",
            "X-Request-ID",
        ],
    )
    apart = settings.metrics and settings.api_metrics_port
    return [
        Middleware(RequestIds),
        *([Middleware(MetricsPort, port=settings.api_metrics_port)] if apart else []),
        Middleware(HttpMetrics, metrics=services.metrics),
        Middleware(SecurityHeaders),
        *([cors] if origins else []),
        Middleware(AnswerCrashes),
        Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
    ]


def _include_routes(app: FastAPI, settings: ApiSettings, services: Services) -> None:
    for part in (
        generate,
        jobs,
        appeals,
        events,
        ratings,
        recipes,
        verify,
        webhooks,
        models,
        adapters,
        review,
        review_page,
        admin,
        usage,
        health,
    ):
        app.include_router(part.router)
    if settings.metrics:
        app.include_router(health.metrics_router, include_in_schema=not settings.api_metrics_port)
    if isinstance(plain_store(services.objects), LocalObjectStore):
        app.include_router(objects.router)
    if settings.docs:
        app.include_router(docs.router)
        app.mount("/docs/assets", docs.assets)


def _document_once(app: FastAPI, services: Services) -> Any:
    made_for = services.catalogue

    def openapi() -> dict[str, Any]:
        nonlocal made_for
        catalogue = services.catalogue
        if app.openapi_schema is None or catalogue is not made_for:
            app.openapi_schema, made_for = document(app, catalogue), catalogue
        return app.openapi_schema

    return openapi
