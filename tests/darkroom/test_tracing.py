"""Traces: one trace through records, a closed set of names and attributes, and nothing at all where they are off."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from darkroom.errors import ConfigurationError
from darkroom.settings import OtelSettings
from darkroom.trace_export import ClosedExporter, make_provider
from darkroom.tracing import (
    Moment,
    Step,
    configure_tracing,
    continued,
    describe,
    marking_steps,
    past_span,
    span,
    trace_id,
    traceparent,
)
from tests.fixtures.spans import recorded_spans

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    with recorded_spans() as exporter:
        yield exporter


def test_spans_continue_the_trace_of_the_record(spans: InMemorySpanExporter) -> None:
    with continued(PARENT), span(Step.ATTEMPT, job="job_1", attempt=2):
        assert trace_id() == "0af7651916cd43dd8448eb211c80319c"
        assert traceparent().startswith("00-0af7651916cd43dd8448eb211c80319c-")
        with span(Step.COMMIT):
            describe(outcome="succeeded")

    commit, attempt = spans.get_finished_spans()
    assert attempt.parent is not None
    assert trace.format_span_id(attempt.parent.span_id) == "b7ad6b7169203331"
    assert commit.parent == attempt.context
    assert dict(attempt.attributes or {}) == {"darkroom.job": "job_1", "darkroom.attempt": 2}
    assert dict(commit.attributes or {}) == {"darkroom.outcome": "succeeded"}


@pytest.mark.parametrize("broken", ["", "nonsense", "00-0-0-01"])
def test_broken_parent_starts_a_trace_of_its_own(spans: InMemorySpanExporter, broken: str) -> None:
    with span(Step.SUBMIT), continued(broken), span(Step.ATTEMPT):
        pass

    attempt, submit = spans.get_finished_spans()
    assert attempt.parent is None
    assert attempt.context is not None
    assert submit.context is not None
    assert attempt.context.trace_id != submit.context.trace_id


def test_error_is_named_by_its_type_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="zarn"), span(Step.UPLOAD):
        raise ValueError("zarn")

    (upload,) = spans.get_finished_spans()
    assert dict(upload.attributes or {}) == {"error.type": "ValueError"}
    assert "zarn" not in upload.to_json()


def test_what_is_not_listed_does_not_leave(spans: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("somebody")
    with tracer.start_as_current_span("GET /jobs/{job_id}") as current:
        current.set_attributes({"url.query": "cursor=zarn", "http.route": "/jobs/{job_id}"})
        current.record_exception(RuntimeError("zarn"))
        current.set_status(StatusCode.ERROR, "zarn")
    tracer.start_span("say zarn").end()

    request, other = spans.get_finished_spans()
    assert (request.name, other.name) == ("GET /jobs/{job_id}", "other")
    assert dict(request.attributes or {}) == {"http.route": "/jobs/{job_id}"}
    assert "zarn" not in request.to_json() + other.to_json()


def test_attribute_that_is_not_listed_is_a_bug(spans: InMemorySpanExporter) -> None:
    with pytest.raises(AssertionError, match="prompt"), span(Step.SUBMIT, prompt="a circle"):
        pass


def test_steps_are_events_until_the_span_ends(spans: InMemorySpanExporter) -> None:
    told: list[tuple[int, int]] = []
    with span(Step.GENERATE):
        mark = marking_steps(3, lambda step, steps: told.append((step, steps)))
        mark(1, 2)
    mark(2, 2)

    (generate,) = spans.get_finished_spans()
    assert told == [(1, 2), (2, 2)]
    assert [dict(event.attributes or {}) for event in generate.events] == [{"darkroom.image": 3, "darkroom.step": 1}]


def test_what_is_over_gets_its_own_times(spans: InMemorySpanExporter) -> None:
    past_span(Step.WAIT, Moment(1.5, 3.0))
    past_span(Step.WAIT, Moment(3.0, 2.0))  # clocks differ

    first, second = spans.get_finished_spans()
    assert (first.start_time, first.end_time) == (1_500_000_000, 3_000_000_000)
    assert second.start_time == second.end_time


def test_every_process_keeps_the_same_traces() -> None:
    kept: list[set[int]] = []
    for service in ("api", "worker"):
        exporter = InMemorySpanExporter()
        provider = make_provider(service, ratio=0.5)
        provider.add_span_processor(SimpleSpanProcessor(ClosedExporter(exporter)))
        for number in range(1, 200):
            parent = f"00-{number * 2**56:032x}-b7ad6b7169203331-01"
            with continued(parent):
                provider.get_tracer("test").start_span(Step.ATTEMPT).end()
        kept.append({one.context.trace_id for one in exporter.get_finished_spans() if one.context})
        provider.shutdown()

    assert kept[0] == kept[1]
    assert 0 < len(kept[0]) < 199


def test_collector_that_is_away_is_told_without_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    code = """
from darkroom.logs import configure_logging
from darkroom.settings import OtelSettings
from darkroom.tracing import Step, configure_tracing, span
from opentelemetry import trace
configure_logging("info", service="api")
configure_tracing(OtelSettings(endpoint="http://127.0.0.1:9/zarn", timeout_seconds=0.2), service="api")
with span(Step.SUBMIT):
    pass
trace.get_tracer_provider().shutdown()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert "traces_not_exported" in events
    assert "zarn" not in done.stderr


def test_without_an_endpoint_nothing_is_loaded() -> None:
    code = """
import sys
from darkroom.settings import OtelSettings
from darkroom.tracing import Step, configure_tracing, span, trace_id, traceparent
configure_tracing(OtelSettings(), service="api")
with span(Step.SUBMIT, job="job_1"):
    assert (trace_id(), traceparent()) == ("", "")
assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(ConfigurationError, match=r"darkroom\[otel\]"):
        configure_tracing(OtelSettings(endpoint="http://127.0.0.1:4318/v1/traces"), service="api")


def test_headers_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("authorization: Bearer k:1\n\nx-scope: a\n")

    assert OtelSettings(headers_file=file).headers() == {"authorization": "Bearer k:1", "x-scope": "a"}


@pytest.mark.parametrize("text", [None, "no colon", ": empty"])
def test_bad_headers_file_is_told_without_what_it_holds(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "headers"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigurationError, match="DARKROOM_OTEL_HEADERS_FILE") as raised:
        OtelSettings(headers_file=file).headers()
    assert not text or text not in raised.value.detail
