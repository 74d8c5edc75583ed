"""Logs: JSON lines on stderr, tied to a job, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from darkroom.logs import bind_job, configure_logging, get_logger


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_event_is_one_json_line_with_service_and_job(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", service="worker")

    with bind_job("job_1"):
        get_logger("test").info("job_finished", status="succeeded")
    get_logger("test").info("idle")

    first, second = _lines(capsys)
    expected = {
        "event": "job_finished", "job_id": "job_1", "service": "worker", "level": "info", "logger": "test",
        "status": "succeeded",
    }  # fmt: skip
    assert expected.items() <= first.items()
    assert str(first["timestamp"]).endswith("Z")
    assert "job_id" not in second


def test_every_event_names_the_region_where_regions_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", service="api", region="eu-1")
    get_logger("test").info("here")
    configure_logging("info", service="api")
    get_logger("test").info("nowhere")

    first, second = _lines(capsys)
    assert first["region"] == "eu-1"
    assert "region" not in second


def test_libraries_events_get_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", service="api")

    logging.getLogger("library").warning("slow %s", "reply")
    logging.getLogger("library").info("too low")

    (line,) = _lines(capsys)
    assert {"event": "slow reply", "service": "api", "logger": "library"}.items() <= line.items()


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "params", "token", "url"])
def test_secret_field_is_withheld(capsys: pytest.CaptureFixture[str], field: str) -> None:
    configure_logging("info", service="api")

    get_logger("test").info("event", **{field: "canary"})

    assert "canary" not in capsys.readouterr().err


def test_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", service="api")

    try:
        int("boom")
    except ValueError:
        get_logger("test").exception("failed")

    (line,) = _lines(capsys)
    assert "ValueError: invalid literal" in str(line["exception"])
