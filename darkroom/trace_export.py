"""What of a span leaves the process: a closed set, whatever made the span.

Names are steps, or method and route template; attributes are those of `darkroom.tracing.ATTRIBUTES`; events are steps
of the denoising; messages of errors stay here. Loaded only where tracing is on: it needs the extra `[otel]`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Status
from opentelemetry.util.types import Attributes

from darkroom import __version__
from darkroom.logs import get_logger
from darkroom.tracing import ATTRIBUTES, MOST_EVENTS, STEP_EVENT, Step

log = get_logger(__name__)

_STEPS = frozenset(Step)
_HTTP_NAME = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|HTTP)(?: /\S*)?")
_OTHER_NAME = "other"


def make_provider(service: str, *, ratio: float) -> TracerProvider:
    """The provider of one process. A trace is kept or not by its id: every process decides alike, callers nothing."""
    chosen = TraceIdRatioBased(ratio)
    return TracerProvider(
        sampler=ParentBased(chosen, remote_parent_sampled=chosen, remote_parent_not_sampled=chosen),
        resource=Resource.create(
            {SERVICE_NAME: f"darkroom-{service}", SERVICE_NAMESPACE: "darkroom", SERVICE_VERSION: __version__}
        ),
        span_limits=SpanLimits(max_events=MOST_EVENTS),
    )


class ClosedExporter(SpanExporter):
    """Hands spans on with nothing in them but what may leave."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        # The exporter names the collector's address in its messages; what of them counts is told below.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export([closed(span) for span in spans])
        if result is not SpanExportResult.SUCCESS:
            log.warning("traces_not_exported", spans=len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def closed(span: ReadableSpan) -> ReadableSpan:
    """The span without anything that is not listed."""
    return ReadableSpan(
        name=span.name if span.name in _STEPS or _HTTP_NAME.fullmatch(span.name) else _OTHER_NAME,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_listed(span.attributes),
        events=[
            Event(event.name, _listed(event.attributes), event.timestamp)
            for event in span.events
            if event.name == STEP_EVENT
        ],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _listed(attributes: Attributes) -> Attributes:
    return {name: value for name, value in (attributes or {}).items() if name in ATTRIBUTES}
