"""Row 1: workers killed at random moments under load."""

from __future__ import annotations

import time

from bench.reliability.fleet import Plan, running
from bench.reliability.judge import judge
from bench.reliability.killer import Killer
from bench.reliability.ledger import Ledger
from bench.reliability.load import Load
from bench.reliability.trial import Check, Outcome, Trial, require

KILL_SECONDS = 1.0  # mean pause between two kills
DRAIN_SECONDS = 40  # without any job's end


def run(trial: Trial) -> Outcome:
    jobs, kills = trial.count(2_000, least=60), trial.count(200, least=6)
    plan = Plan(worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        began = time.monotonic()
        load = Load(fleet, ledger, trial, rate=jobs / (kills * KILL_SECONDS))
        killer = Killer(
            fleet.keeper, [worker.name for worker in fleet.workers], seconds=KILL_SECONDS, chance=trial.random()
        )
        with load.sending(jobs), killer.killing(kills) as thread:
            thread.join()
            while load.sent < jobs:
                load.rest()
        load.close()
        took = time.monotonic() - began
        verdict = judge(fleet, ledger, drain_seconds=DRAIN_SECONDS)
        convicted = verdict.codes.get("poison", 0) + verdict.codes.get("attempts_exhausted", 0)
        return Outcome(
            figures={
                "jobs": jobs,
                "kills": killer.kills,
                "seconds": round(took),
                "innocent_convicted": convicted,
                **verdict.figures,
            },
            broken=require(
                verdict.rules | {"a job failed of something else than the kills": _only_kills(verdict.codes)}
            ),
            settings=plan.shown(),
        )


def _only_kills(codes: object) -> bool:
    """Kills from outside may convict a job that happened to run alone three times; nothing else may fail."""
    return isinstance(codes, dict) and set(codes) <= {"poison", "attempts_exhausted"}


CHECK = Check(
    name="workers_killed",
    number=1,
    fault="workers killed at random moments",
    promise="no accepted job lost, none committed twice",
    run=run,
)
