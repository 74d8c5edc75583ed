"""Row 3: Valkey stands still, and connections to it that go dead without a word."""

from __future__ import annotations

import signal
import time

from bench.reliability.fleet import Fleet, Plan, running
from bench.reliability.judge import judge
from bench.reliability.ledger import Ledger
from bench.reliability.load import Load
from bench.reliability.tcp_proxy import Mode
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true

FREEZES = (5.0, 30.0, 90.0)
DEAF_SECONDS = 15.0
CLAIM_SECONDS = 60.0


def run(trial: Trial) -> Outcome:
    plan = Plan(workers=2, redis_proxied=True, worker_hooks=trial.hooks)
    ledger = Ledger()
    freezes = [max(seconds * min(trial.scale, 1), 3.0) for seconds in FREEZES][: trial.count(3)]
    with running(plan, trial) as fleet:
        load = Load(fleet, ledger, trial, rate=10, most_steps=8)
        waits = {}
        with load.sending():
            time.sleep(3)
            for seconds in freezes:
                fleet.keeper.send("valkey", signal.SIGSTOP)
                time.sleep(seconds)
                fleet.keeper.send("valkey", signal.SIGCONT)
                waits[f"frozen_{seconds:g}"] = _claimed_by_all(fleet)
            assert fleet.redis_proxy is not None, "the plan asks for it"
            fleet.redis_proxy.set(Mode.DEAF)
            time.sleep(DEAF_SECONDS)
            fleet.redis_proxy.set(Mode.PASS)
            waits[f"half_open_{DEAF_SECONDS:g}"] = _claimed_by_all(fleet)
        load.close()
        verdict = judge(fleet, ledger, drain_seconds=90)
        return Outcome(
            figures={
                "seconds_until_every_worker_claims": {name: round(wait, 1) for name, wait in waits.items()},
                "answers": ledger.statuses(),
                **verdict.figures,
            },
            broken=require(
                verdict.rules | {"a worker did not claim again in time": max(waits.values()) <= CLAIM_SECONDS}
            ),
            settings=plan.shown(),
        )


def _claimed_by_all(fleet: Fleet) -> float:
    """Seconds until each worker process has claimed a job after now."""
    now = time.time()
    pids = {worker.pid for worker in fleet.workers}

    def all_did() -> bool:
        return pids <= {seen.pid for seen in fleet.seen() if seen.act == "claim" and seen.at > now}

    try:
        return await_true(all_did, seconds=CLAIM_SECONDS * 2, what="a worker claims nothing")
    except TimeoutError:
        return float("inf")


CHECK = Check(
    name="valkey_frozen",
    number=3,
    fault="Valkey frozen for 5, 30 and 90 s; connections half-open for 15 s",
    promise="every worker claims again within 60 s, nothing lost or doubled",
    run=run,
)
