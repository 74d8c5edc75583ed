"""The API as a process."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx2
import pytest

from tests.api.service import LiveApi, Places


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
