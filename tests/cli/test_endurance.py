"""A long proof: a service whose processes are killed all the time loses no accepted job and makes none twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from tests.cli.processes import eventually
from tests.cli.running import Running, darkroom_up

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1_800)]
KILLS = 24
PAUSE_SECONDS = 4.0  # a process killed again and again right after its start would end the service, by design
JOBS_PER_KILL = 4


def submit(service: Running, seed: int) -> str:
    """A job's id; asks again with the same key while the API or the store is away."""
    body = {"prompt": "a red circle", "num_inference_steps": 10, "width": 64, "height": 64, "seed": seed}
    headers = {
        "Authorization": f"Bearer {service.api_key}",
        "Content-Type": "application/json",
        "Idempotency-Key": f'"{uuid.uuid4()}"',
    }
    request = urllib.request.Request(f"{service.url}/generate", json.dumps(body).encode(), headers)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(json.load(answer)["id"])
        except urllib.error.HTTPError as error:
            if error.code != 503:  # the store is away for a moment
                raise
        except OSError:
            pass
        time.sleep(0.2)


def status(service: Running, job_id: str) -> str:
    try:
        return str(service.get(f"/jobs/{job_id}")["status"])
    except OSError:
        return "unknown for the moment"


def test_no_accepted_job_is_lost_while_every_process_is_killed_in_turn(tmp_path: Path) -> None:
    rng = random.Random(7)
    with darkroom_up(tmp_path, "--workers", "2") as service:
        names = itertools.cycle(rng.sample(sorted(service.pids), len(service.pids)))
        accepted: dict[str, int] = {}
        for _ in range(KILLS):
            for _ in range(JOBS_PER_KILL):
                seed = len(accepted)
                accepted[submit(service, seed)] = seed
            if pid := service.pids_now().get(next(names)):
                os.kill(pid, signal.SIGKILL)
            time.sleep(PAUSE_SECONDS)

        ended = eventually(lambda: all(status(service, job) == "succeeded" for job in accepted), within=600)

        assert ended, {job: status(service, job) for job in accepted if status(service, job) != "succeeded"}
        assert len(accepted) == KILLS * JOBS_PER_KILL
        made = [service.get(f"/jobs/{job}")["images"] for job in accepted]
        assert [[image["seed"] for image in images] for images in made] == [[seed] for seed in accepted.values()]
        kept = {path.relative_to(tmp_path / "objects").parts[1] for path in (tmp_path / "objects").rglob("*.png")}
        assert kept == set(accepted)
