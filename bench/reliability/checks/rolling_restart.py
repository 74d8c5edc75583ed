"""Row 9: workers restarted one after the other by SIGTERM, under load."""

from __future__ import annotations

import signal
import time

from bench.reliability.fleet import Fleet, Plan, running
from bench.reliability.judge import judge, read_records
from bench.reliability.ledger import Ledger
from bench.reliability.load import Load
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true

SLACK_SECONDS = 5.0  # beside the grace time, for the exit itself


def run(trial: Trial) -> Outcome:
    restarts = trial.count(20, least=3)
    plan = Plan(workers=2, grace_seconds=2.0, worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        # Some jobs take longer than the grace time, so that there is something to hand back.
        load = Load(fleet, ledger, trial, rate=5, least_steps=2, most_steps=150)
        exits: list[float] = []
        codes: list[int | None] = []
        with load.sending():
            time.sleep(2)
            for number in range(restarts):
                seconds, code = _restart(fleet, number % 2)
                exits.append(seconds)
                codes.append(code)
        load.close()
        verdict = judge(fleet, ledger, drain_seconds=60)
        records = read_records(fleet, ledger.accepted()).values()
        burnt = sum(int(record.get("lost") or 0) + int(record.get("strikes") or 0) for record in records)
        return Outcome(
            figures={
                "restarts": restarts,
                "attempts_burnt": burnt,
                "slowest_exit_seconds": round(max(exits), 2),
                "exit_codes": sorted(set(codes), key=str),
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    f"{burnt} attempts were counted against jobs": burnt == 0,
                    "a worker took longer than its grace": max(exits) < plan.grace_seconds + SLACK_SECONDS,
                    f"exit codes {codes}": set(codes) == {0},
                    "jobs failed": verdict.statuses.get("failed", 0) == 0,
                }
            ),
            settings=plan.shown() | {"grace_seconds": plan.grace_seconds},
        )


def _restart(fleet: Fleet, number: int) -> tuple[float, int | None]:
    """Ask one worker to leave and wait until its successor runs; seconds to the exit, and its code."""
    worker, before, asked = fleet.workers[number], fleet.started_lines(number), time.monotonic()
    pid = worker.pid
    fleet.keeper.send(worker.name, signal.SIGTERM)
    await_true(lambda: worker.pid != pid, seconds=60, what="the worker does not leave")
    left = time.monotonic() - asked
    await_true(lambda: fleet.started_lines(number) > before, seconds=60, what="the worker is not back")
    return left, worker.ended_with(pid)


CHECK = Check(
    name="rolling_restart",
    number=9,
    fault="workers restarted one by one by SIGTERM under load",
    promise="nothing lost, no attempt counted, every exit within the grace time",
    run=run,
)
