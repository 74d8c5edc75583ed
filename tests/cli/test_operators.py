"""What operators look with, on a service that runs: `darkroom doctor`, `top` and `jobs`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cli.running import Running

pytestmark = pytest.mark.integration


def test_a_fresh_service_is_in_good_order(service: Running) -> None:
    done = service.run("doctor", "--json")

    findings: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    bad = [finding for finding in findings if finding["state"] == "failed"]
    assert (done.returncode, bad) == (0, []), done.stdout + done.stderr
    assert next(finding for finding in findings if finding["check"] == "workers")["state"] == "ok"


def test_the_worker_and_what_it_holds_are_seen(service: Running) -> None:
    service.run("generate", "a red circle on a blue background", "-o", str(service.data / "seen.png"))
    deadline = time.monotonic() + 30
    while True:
        seen = json.loads(service.run("top", "--once", "--json").stdout)
        (worker,) = seen["workers"]
        if worker["steps"] > 0 or time.monotonic() > deadline:
            break

    assert (worker["tiers"], worker["device"]) == (["preview", "standard", "quality"], "cpu")
    assert (worker["steps"] > 0, worker["models"], seen["max_rows"]) == (True, ["darkroom-tiny"], worker["max_rows"])


def test_an_operator_finds_the_job(service: Running) -> None:
    done = service.run("generate", "a green square", "-o", str(service.data / "found.png"))
    assert done.returncode == 0, done.stderr

    newest = json.loads(service.run("jobs", "list", "--status", "succeeded", "--json").stdout)[0]
    shown = service.run("jobs", "show", newest["id"])
    assert ("status: succeeded" in shown.stdout, "green" in shown.stdout) == (True, False)
