"""The API as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.api.service import LiveApi, Places, live_process
from tests.fixtures.ports import free_port


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DARKROOM_CATALOGUE", "/nowhere/catalogue.toml", "catalogue /nowhere/catalogue.toml can't be read"),
        ("DARKROOM_LINK_SECRET", "", "DARKROOM_LINK_SECRET"),
        ("DARKROOM_SECRET_FILE", "", "DARKROOM_SECRET_FILE must name the file"),
    ],
)
def test_wrong_setting_stops_the_start_with_a_sentence(places: Places, name: str, value: str, sentence: str) -> None:
    env = {**os.environ, **places.environment(), "DARKROOM_PORT": "0", name: value}

    done = subprocess.run(
        [sys.executable, "-m", "api"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [
        (70_000, 401, "not_authenticated"),
        (5_000_000, 401, "not_authenticated"),
        (28_000_000, 401, "not_authenticated"),
        (30_000_000, 413, "body_too_large"),
        (60_000_000, 413, "body_too_large"),
    ],
)
def test_sender_of_a_large_body_gets_its_answer(live_api: LiveApi, size: int, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"}

    response = httpx2.post(f"{live_api.url}/generate", content=b" " * size, headers=headers, trust_env=False)

    assert (response.status_code, response.json()["code"]) == (status, code)


def test_metrics_on_their_own_port_are_nowhere_else(places: Places, tmp_path: Path) -> None:
    port = free_port()

    with live_process(places, log=tmp_path / "api.log", DARKROOM_API_METRICS_PORT=str(port)) as api:
        apart = f"http://127.0.0.1:{port}"
        answers = [
            httpx2.get(url, trust_env=False)
            for url in (f"{apart}/metrics", f"{api.url}/livez", f"{api.url}/metrics", f"{apart}/livez")
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 404, 404]
    assert "darkroom_http_requests_total" in answers[0].text
    assert answers[2].json()["code"] == "not_found"


def test_port_of_the_metrics_that_is_taken_stops_the_start(live_api: LiveApi, places: Places) -> None:
    taken = live_api.url.rpartition(":")[2]
    env = {**os.environ, **places.environment(), "DARKROOM_PORT": "0", "DARKROOM_API_METRICS_PORT": taken}

    done = subprocess.run(
        [sys.executable, "-m", "api"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 3
    assert "can't be listened on" in done.stderr
