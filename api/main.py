"""Runs the API from the environment: `python -m api`, or `uvicorn --factory api.main:app_from_env`.

uvicorn's own access log stays off: it prints query strings, and a signed link's right to fetch is in its query.
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.event_hub import EventHub
from api.metrics_port import listen
from api.services import connect
from darkroom.errors import ConfigurationError
from darkroom.logs import configure_logging
from darkroom.settings import (
    ApiSettings,
    CatalogueSettings,
    JobSettings,
    LogSettings,
    ObjectStoreSettings,
    OtelSettings,
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
from darkroom.tracing import configure_tracing

SHUTDOWN_SECONDS = 10
START_FAILED = 3  # uvicorn's own exit code


class Server(uvicorn.Server):
    """A server that tells listeners to go before it waits for what is under way."""

    def __init__(self, config: uvicorn.Config, hub: EventHub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.dismiss_all()
        await super().shutdown(sockets)


def app_from_env() -> FastAPI:
    """The application as the environment describes it.

    Raises:
        ConfigurationError: with one sentence that says what to change.
    """
    configure_logging(LogSettings.from_env().log_level, service="api", region=JobSettings.from_env().region)
    configure_tracing(OtelSettings.from_env(), service="api")
    services = connect(
        redis_settings=RedisSettings.from_env(),
        job_settings=JobSettings.from_env(),
        owners_settings=OwnersSettings.from_env(),
        secret_settings=SecretSettings.from_env(),
        object_settings=ObjectStoreSettings.from_env(),
        catalogue_settings=CatalogueSettings.from_env(),
        safety_settings=SafetySettings.from_env(),
        webhook_settings=WebhookSettings.from_env(),
        provenance_settings=ProvenanceSettings.from_env(),
        rewriter_settings=RewriterSettings.from_env(),
        review_settings=ReviewSettings.from_env(),
        price_settings=PriceSettings.from_env(),
    )
    return create_app(settings=ApiSettings.from_env(), services=services)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        settings = ApiSettings.from_env()
        app = app_from_env()
    except ConfigurationError as error:
        sys.exit(f"darkroom api: {error.detail}")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="h11",  # bounds a request's head, which httptools would read without end
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # uvicorn would believe every local sender; api.client_address reads them
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = Server(config, app.state.hub)
    server.run(sockets=_two_ports(settings))
    if not server.started:
        sys.exit(START_FAILED)


def _two_ports(settings: ApiSettings) -> list[socket.socket] | None:
    """The sockets of the API and of its metrics; None where one port, which uvicorn opens, serves both."""
    if not (settings.metrics and settings.api_metrics_port):
        return None
    try:
        return [listen(settings.host, port) for port in (settings.port, settings.api_metrics_port)]
    except OSError as error:
        print(f"darkroom api: {settings.host} can't be listened on: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(START_FAILED)
