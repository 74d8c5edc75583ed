"""Structured JSON logs on stderr, one event per fact, tied to a job by context.

`bind_job` puts the job id on every event of the current thread or task; the id of the trace, where there is one, comes
by itself. Callers never pass prompts, keys or links; as a second guard, values under the names in `SECRET_FIELDS` are
dropped before anything is written.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import trace

SECRET_FIELDS = frozenset(
    {"prompt", "negative_prompt", "params", "token", "api_key", "secret", "url", "authorization", "password"}
)


def configure_logging(level: str, *, service: str, region: str = "") -> None:
    """Send our events and those of the libraries to stderr as JSON lines that name service and region."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service, region),
        _traced,
        _drop_secrets,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a logger made at import must follow a later configuration
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def bind_job(job_id: str, *, request_id: str = "") -> Iterator[None]:
    """Put the job's id, and that of the request which made it, on every event logged inside the block."""
    named = {"job_id": job_id} | ({"request_id": request_id} if request_id else {})
    with structlog.contextvars.bound_contextvars(**named):
        yield


def current_request_id() -> str:
    """The id of the request that is being answered here; '' outside of one."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def _named(service: str, region: str) -> Any:
    def add_service(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["service"] = service
        if region:
            event["region"] = region
        return event

    return add_service


def _traced(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Put the trace's id on the event, where there is one."""
    here = trace.get_current_span().get_span_context()
    if here.is_valid:
        event["trace_id"] = trace.format_trace_id(here.trace_id)
    return event


def _drop_secrets(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    for name in SECRET_FIELDS.intersection(event):
        event[name] = "[withheld]"
    return event
