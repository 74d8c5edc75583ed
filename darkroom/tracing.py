"""Traces by OpenTelemetry: one trace leads from a request through its job's record to the worker and the webhook.

Without the extra `[otel]` or an endpoint every call here does nothing. What leaves the process is a closed set: names
of `Step`, attributes of `ATTRIBUTES`, HTTP by route template; messages of errors, queries and addresses never do. The
context travels in the record's field `traceparent` (W3C), not in tickets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from darkroom import __version__
from darkroom.errors import ConfigurationError
from darkroom.logs import get_logger
from darkroom.settings import OtelSettings

log = get_logger(__name__)
Value: TypeAlias = str | int | float | bool

TRACER = "darkroom"
MOST_EVENTS = 1_024  # of a span: the steps of one attempt
_CONTEXT = TraceContextTextMapPropagator()


class Step(StrEnum):
    """The spans of a job's way. HTTP requests have theirs besides, named by method and route."""

    SUBMIT = "darkroom.submit"
    CHECK_PROMPT = "darkroom.check_prompt"
    WAIT = "darkroom.wait"
    CLAIM = "darkroom.claim"
    ATTEMPT = "darkroom.attempt"
    GENERATE = "darkroom.generate"
    CHECK_IMAGES = "darkroom.check_images"
    UPLOAD = "darkroom.upload"
    COMMIT = "darkroom.commit"
    WEBHOOK = "darkroom.webhook"


STEP_EVENT = "step"  # of a generate span: one denoising step of one image
#: What spans and their events may say; the keyword arguments of `span` are the first part's names without `darkroom.`.
ATTRIBUTES = frozenset(
    {f"darkroom.{name}" for name in ("job", "attempt", "tier", "model", "outcome", "images", "image", "step", "event")}
    | {"http.request.method", "http.route", "http.response.status_code", "error.type"}
)


@dataclass(frozen=True)
class Moment:
    """When something began and ended that is told afterwards, in Unix seconds."""

    began: float
    ended: float


def configure_tracing(settings: OtelSettings, *, service: str) -> None:
    """Send this process's spans to the collector that the settings name; without one, do nothing.

    Raises:
        ConfigurationError: the extra is not installed, or a file can't be used.
    """
    if settings.endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        from darkroom.trace_export import ClosedExporter, make_provider  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("DARKROOM_OTEL_ENDPOINT needs the packages of darkroom[otel]") from None
    exporter = OTLPSpanExporter(
        endpoint=settings.endpoint,
        headers=settings.headers(),
        certificate_file=None if settings.ca_file is None else str(settings.ca_file),
        timeout=settings.timeout_seconds,
    )
    provider = make_provider(service, ratio=settings.ratio)
    provider.add_span_processor(BatchSpanProcessor(ClosedExporter(exporter)))
    trace.set_tracer_provider(provider)
    log.info("tracing", ratio=settings.ratio)


@contextmanager
def span(step: Step, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: Value | None) -> Iterator[Span]:
    """A span for the length of the block; an error that leaves it is named by its type alone."""
    tracer = trace.get_tracer(TRACER, __version__)
    with tracer.start_as_current_span(
        step, kind=kind, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(Status(StatusCode.ERROR))
            raise


def past_span(step: Step, moment: Moment, **attributes: Value | None) -> None:
    """A span of what is over already."""
    tracer = trace.get_tracer(TRACER, __version__)
    told = tracer.start_span(step, start_time=_nanoseconds(moment.began), attributes=_named(attributes))
    told.end(_nanoseconds(max(moment.began, moment.ended)))


def describe(**attributes: Value | None) -> None:
    """Add to the span here what is known only now."""
    trace.get_current_span().set_attributes(_named(attributes))


def marking_steps(image: int, call: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """`call`, which takes step and steps, and an event on the span here with each; for any thread."""
    here = trace.get_current_span()
    if not here.is_recording():
        return call

    def mark(step: int, steps: int) -> None:
        if here.is_recording():  # a cancelled image may take one more step
            here.add_event(STEP_EVENT, _named({"image": image, "step": step}))
        call(step, steps)

    return mark


def traceparent() -> str:
    """The context here, as the record keeps it; '' where nothing is traced."""
    carrier: dict[str, str] = {}
    _CONTEXT.inject(carrier)
    return carrier.get("traceparent", "")


@contextmanager
def continued(parent: str) -> Iterator[None]:
    """Let the spans of the block belong to the trace of a `traceparent`; one that is empty or broken starts anew."""
    token = context.attach(_CONTEXT.extract({"traceparent": parent}, context=context.Context()))
    try:
        yield
    finally:
        context.detach(token)


def trace_id() -> str:
    """The id of the trace here, 32 hex digits; '' without one."""
    here = trace.get_current_span().get_span_context()
    return trace.format_trace_id(here.trace_id) if here.is_valid else ""


def _named(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    named = {f"darkroom.{name}": value for name, value in attributes.items() if value is not None}
    assert named.keys() <= ATTRIBUTES, f"not an attribute of ours: {sorted(named.keys() - ATTRIBUTES)}"
    return named


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
