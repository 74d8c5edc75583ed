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
ROUNDS = 10
SLOPE_BYTES = 1_000_000  # per 1,000 jobs
EXTRA_KEYS = 64  # queues and counters that come into being with the first jobs
EXTRA_DESCRIPTORS = 16
THREADS = 8
OUTLIVED = 1  # second until a job's deadline


def run(trial: Trial) -> Outcome:
    jobs, images = trial.count(50_000, least=500), trial.count(2_000, least=40)
    plan = Plan(workers=1, worker_hooks=trial.hooks, environment={"DARKROOM_RESULT_TTL_SECONDS": str(KEPT_SECONDS)})
    ledger = Ledger()
    with running(plan, trial) as fleet:
        caller = Caller(fleet, ledger, "ada")
        _round(caller, 0, jobs // ROUNDS, images // ROUNDS)  # what is made once is made now
        before, descriptors, keys = _memory(fleet), _descriptors(fleet), fleet.redis.dbsize()
        for number in range(1, ROUNDS):
            _round(caller, number, jobs // ROUNDS, images // ROUNDS)
        await_true(lambda: not alive(fleet, ledger.accepted()), seconds=300, what="jobs are not at their ends")
        after, descriptors_after = _memory(fleet), _descriptors(fleet)
        caller.close()
        time.sleep(KEPT_SECONDS)
        await_true(
            lambda: not list(fleet.redis.scan_iter("darkroom:job:*", count=1_000)), seconds=300, what="records stay"
        )
        keys_after = fleet.redis.dbsize()
        made = (jobs + images) * (ROUNDS - 1) / ROUNDS / 1_000
        slopes = {name: (after[name] - before[name]) / made for name in before}
        grown = {name: descriptors_after[name] - descriptors[name] for name in descriptors}
        return Outcome(
            figures={
                "jobs": jobs,
                "image_jobs": images,
                "bytes_per_1000_jobs": {name: round(slope) for name, slope in slopes.items()},
                "descriptors_more": grown,
                "redis_keys_mid": keys,
                "redis_keys_after": keys_after,
                "answers": ledger.statuses(),
            },
            broken=require(
                {
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
