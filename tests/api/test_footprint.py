"""What an API process costs, and what it must never load."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from darkroom.keys import KeyStore
from tests.api.service import LiveApi

MOST_BYTES = 150 * 1024 * 1024
HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "safetensors")


def test_importing_the_api_loads_nothing_heavy() -> None:
    code = "import sys, api.app, api.main; print(*sorted(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert "api.app" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from Linux's /proc")
def test_serving_process_stays_small(live_api: LiveApi, keys: KeyStore) -> None:
    headers = {"Authorization": f"Bearer {keys.create('owner', 'test').token}"}

    def use(number: int) -> int:
        job = client.post("/generate", json={"prompt": f"a boat, number {number}"})
        client.get(job.headers["location"])
        client.get("/jobs")
        client.get("/openapi.json")
        return client.get("/readyz").status_code

    with (
        httpx2.Client(base_url=live_api.url, headers=headers, trust_env=False) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = set(pool.map(use, range(150)))

    assert answers == {200}
    assert _rss(live_api.pid) < MOST_BYTES


def test_log_of_a_live_process_is_json_without_secrets(live_api: LiveApi, keys: KeyStore) -> None:
    token = keys.create("owner", "test").token
    with httpx2.Client(base_url=live_api.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        client.post("/generate", json={"prompt": "kanarienvogel"})
        client.post("/generate", json={"prompt": "kanarienvogel", "seed": "kanarienvogel"})
        client.get("/jobs?cursor=kanarienvogel")
        client.get("/objects/outputs/a/1/0.png?expires=99999999999&signature=kanarienvogel")

    lines = live_api.log.read_text(encoding="utf-8").splitlines()

    assert any('"event": "job_submitted"' in line for line in lines)
    assert all(line.startswith("{") for line in lines)
    assert not any("kanarienvogel" in line or token in line for line in lines)


def _rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
