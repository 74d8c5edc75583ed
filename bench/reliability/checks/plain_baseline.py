"""Beside row 1: the same kills for a service where the Celery message is the job."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import redis
from celery import Celery

from bench.reliability.killer import Killer
from bench.reliability.members import Child, Keeper, Program
from bench.reliability.plain_celery import VISIBILITY_SECONDS
from bench.reliability.trial import Check, Outcome, Trial
from bench.reliability.waiting import await_true
from cli.services import find_valkey, free_port

WORKERS, PROCESSES = 3, 4
JOB_SECONDS = 0.02
RATE = 60.0
QUIET_SECONDS = 3 * VISIBILITY_SECONDS  # without anything new done, nothing more will come


def run(trial: Trial) -> Outcome:
    jobs, kills = trial.count(4_000, least=60), trial.count(80, least=3)
    trial.folder.mkdir(parents=True)
    ledger, port, keeper = trial.folder / "ledger.jsonl", free_port(), Keeper()
    broker = f"redis://127.0.0.1:{port}/0"
    try:
        _start_valkey(keeper, port, trial.folder)
        names = [_start_worker(keeper, trial, number, broker=broker, ledger=ledger) for number in range(WORKERS)]
        celery = Celery("sender", broker=broker, set_as_current=False)
        killer = Killer(keeper, names, seconds=jobs / RATE / kills, chance=trial.random())
        with killer.killing(kills) as thread:
            accepted = _send(celery, jobs)
            thread.join()
        _await_quiet(ledger, broker)
        celery.close()
    finally:
        keeper.stop()
    done = _done(ledger)
    lost = [job for job in accepted if job not in done]
    return Outcome(
        figures={
            "jobs": len(accepted),
            "kills": killer.kills,
            "lost": len(lost),
            "done_twice": sum(count > 1 for count in done.values()),
        },
        settings={"workers": WORKERS, "processes": PROCESSES, "visibility_timeout": VISIBILITY_SECONDS},
    )


def _start_valkey(keeper: Keeper, port: int, folder: Path) -> None:
    words = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    keeper.add(Program("valkey", [find_valkey(), *words], log=folder / "valkey.log"))
    with redis.Redis(port=port) as client:

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

        await_true(answers, seconds=30, what="Valkey does not answer")


def _start_worker(keeper: Keeper, trial: Trial, number: int, *, broker: str, ledger: Path) -> str:
    name = f"worker-{number}"
    environment = {
        "PLAIN_BROKER": broker,
        "PLAIN_LEDGER": str(ledger),
        "PLAIN_NAME": name,
        "PLAIN_PROCESSES": str(PROCESSES),
    }
    log = trial.folder / f"{name}.log"
    keeper.add(Child(name, trial.homes.apis, module="bench.reliability.plain_celery", environment=environment, log=log))
    return name


def _send(celery: Celery, jobs: int) -> list[str]:
    accepted, began = [], time.monotonic()
    for number in range(jobs):
        time.sleep(max(began + number / RATE - time.monotonic(), 0))
        celery.send_task("plain.make", args=[str(number), JOB_SECONDS])
        accepted.append(str(number))
    return accepted


def _await_quiet(ledger: Path, broker: str) -> None:
    """Wait until no message is left, or until nothing has happened for several visibility timeouts."""
    with redis.Redis.from_url(broker) as client:
        size, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            now = ledger.stat().st_size if ledger.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            if (
                not client.llen("celery")
                and not client.hlen("unacked")
                and time.monotonic() - since > VISIBILITY_SECONDS
            ):
                return
            time.sleep(0.5)


def _done(ledger: Path) -> Mapping[str, int]:
    lines = map(json.loads, ledger.read_text(encoding="utf-8").splitlines())
    return Counter(line["job"] for line in lines if line["act"] == "done")


CHECK = Check(
    name="plain_celery",
    number=0,
    fault="the same kills where a Celery message is the job (acks_late, reject_on_worker_lost)",
    promise="none: the baseline",
    run=run,
)
