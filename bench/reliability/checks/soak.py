"""Row 17: very many jobs through the same processes, and what is left in memory, in Redis and of descriptors."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Fleet, Plan, running
from bench.reliability.judge import alive
from bench.reliability.ledger import Ledger
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true

BLOCKED = "a zzblockedterm"  # the shipped lists have words for trying this
KEPT_SECONDS = 60  # the shortest that a record may be kept
SETTLED_SECONDS = 480  # retention, and the five minutes for which a claim's nonce is remembered
ROUNDS, WARM_ROUNDS = 10, 5  # in the first of them pools, caches and the allocator's own store fill
SLOPE_BYTES = 1_000_000  # per 1,000 jobs
EXTRA_KEYS = 64  # queues and counters that come into being with the first jobs
EXTRA_DESCRIPTORS = 16
THREADS = 8
OUTLIVED = 1  # second until a job's deadline


def run(trial: Trial) -> Outcome:
    jobs, images = trial.count(50_000, least=500), trial.count(2_000, least=40)
    short = {"DARKROOM_RESULT_TTL_SECONDS": str(KEPT_SECONDS), "DARKROOM_GONE_SECONDS": "0"}
    plan = Plan(workers=1, worker_hooks=trial.hooks, environment=short)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        caller = Caller(fleet, ledger, "ada")
        memory, descriptors = [], []
        for number in range(ROUNDS):
            _round(caller, number, jobs // ROUNDS, images // ROUNDS)
            await_true(lambda: not alive(fleet, ledger.accepted()), seconds=600, what="jobs are not at their ends")
            memory.append(_memory(fleet))
            descriptors.append(_descriptors(fleet))
        keys = fleet.redis.dbsize()
        caller.close()
        keys_after = _settled_keys(fleet)
        refused = sum(call.status != 202 for call in ledger.calls("submit"))
        made = (jobs + images) * (ROUNDS - WARM_ROUNDS) / ROUNDS / 1_000
        slopes = {name: (size - memory[WARM_ROUNDS - 1][name]) / made for name, size in memory[-1].items()}
        grown = {name: number - descriptors[0][name] for name, number in descriptors[-1].items()}
        return Outcome(
            figures={
                "jobs": jobs,
                "image_jobs": images,
                "bytes_per_1000_jobs": {name: round(slope) for name, slope in slopes.items()},
                "resident_megabytes": {name: [round(one[name] / 1e6, 1) for one in memory] for name in slopes},
                "descriptors_more": grown,
                "redis_keys_before_retention": keys,
                "redis_keys_after": keys_after,
                "answers": ledger.statuses(),
            },
            broken=require(
                {
                    f"{refused} jobs were not taken, so they tried nothing": refused == 0,
                    f"memory grows: {slopes}": max(slopes.values()) < SLOPE_BYTES,
                    f"descriptors grow: {grown}": max(grown.values()) <= EXTRA_DESCRIPTORS,
                    f"{keys_after} keys stay in Redis": keys_after <= EXTRA_KEYS,
                }
            ),
            settings=plan.shown(),
        )


def _round(caller: Caller, number: int, jobs: int, images: int) -> None:
    """A third blocked, a third cancelled, a third that expires, and some that make images."""

    def one(index: int) -> None:
        seed = number * 1_000_000 + index
        kind = index % 3
        if kind == 0:
            caller.submit(job_body(seed, steps=2, prompt=BLOCKED))
        elif kind == 1:
            caller.cancel(caller.submit(job_body(seed, steps=200)).job)
        else:
            caller.submit(job_body(seed, steps=500) | {"deadline_seconds": OUTLIVED})

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(jobs)))
        list(pool.map(lambda index: caller.submit(job_body(index, steps=2)), range(images)))


def _settled_keys(fleet: Fleet) -> int:
    """How many keys are left when everything that goes by itself had the time to."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while (keys := fleet.redis.dbsize()) > EXTRA_KEYS and time.monotonic() < deadline:
        time.sleep(1)
    return keys


def _pids(fleet: Fleet) -> Mapping[str, int]:
    return {child.name: child.pid for child in (*fleet.apis, *fleet.workers) if child.pid is not None}


def _memory(fleet: Fleet) -> Mapping[str, int]:
    """Resident bytes of each process."""
    page = os.sysconf("SC_PAGESIZE")
    return {
        name: int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * page
        for name, pid in _pids(fleet).items()
    }


def _descriptors(fleet: Fleet) -> Mapping[str, int]:
    return {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in _pids(fleet).items()}


CHECK = Check(
    name="soak",
    number=17,
    fault="50,000 jobs that are blocked, cancelled or expire, and 2,000 that make images",
    promise="memory under 1 MB more per 1,000 jobs, Redis' keys back to the baseline, descriptors flat",
    run=run,
)
