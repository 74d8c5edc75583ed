"""The worker's HTTP port."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from darkroom.errors import ConfigurationError
from darkroom.metrics import Metrics
from tests.fixtures.ports import free_port
from worker.status_server import serve_status


def test_health_and_metrics_are_served(capfd: pytest.CaptureFixture[str]) -> None:
    findings: list[str] = []
    port = free_port()
    serve_status("127.0.0.1", port, metrics=Metrics(), health=lambda: findings[0] if findings else None)

    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert b"darkroom_attempts" in answer.read()
    with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        assert json.load(answer) == {"status": "ok"}
    findings.append("the engine has stopped")
    with pytest.raises(HTTPError) as caught:
        urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)

    assert caught.value.code == 503
    assert json.load(caught.value) == {"status": "failing", "reason": "the engine has stopped"}
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_refused_with_one_sentence() -> None:
    port = free_port()
    serve_status("127.0.0.1", port, metrics=Metrics(), health=lambda: None)

    with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
        serve_status("127.0.0.1", port, metrics=Metrics(), health=lambda: None)
