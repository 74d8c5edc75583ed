"""Row 4: a worker that stands still past its lease, and then goes on to commit what is no longer its own."""

from __future__ import annotations

import os
import signal
import time

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Fleet, Plan, running
from bench.reliability.judge import alive, judge, stored_keys
from bench.reliability.ledger import Ledger
from bench.reliability.members import Child, state_of
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true

FREEZE = "bench.reliability.sabotage:freeze_before_commit"
LEASE_SECONDS = 3.0
SECONDS = 60  # for one zombie's whole course


def run(trial: Trial) -> Outcome:
    wanted = trial.count(100, least=3)
    plan = Plan(workers=3, concurrency=2, lease_seconds=LEASE_SECONDS, heartbeat_seconds=0.5, worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        frozen = 0
        _make_prone(fleet)
        caller = Caller(fleet, ledger, "ada")
        while _stale_commits(fleet)[0] < wanted:
            await_true(lambda: _someone_stands(fleet, caller), seconds=SECONDS, what="no worker stands still")
            await_true(lambda: not alive(fleet, ledger.accepted()), seconds=SECONDS, what="nobody took the jobs over")
            frozen += _thaw(fleet)
        caller.close()
        stale, refused = _stale_commits(fleet)
        for worker in fleet.workers[:2]:
            worker.hooks = [hook for hook in worker.hooks if hook != FREEZE]
            fleet.keeper.send(worker.name, signal.SIGKILL)
        verdict = judge(fleet, ledger, drain_seconds=60)
        await_true(
            lambda: not _stale_objects(fleet), seconds=20, what="stale objects are still there"
        ) if refused else 0
        return Outcome(
            figures={
                "zombies": frozen,
                "stale_commits": stale,
                "refused": refused,
                "stale_objects_left": _stale_objects(fleet),
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    f"{stale - refused} stale commits were taken": stale == refused,
                    "stale objects were not swept": _stale_objects(fleet) == 0,
                }
            ),
            settings=plan.shown(),
        )


def _make_prone(fleet: Fleet) -> None:
    """The first two workers freeze before each commit; the third is sound."""
    for worker in fleet.workers[:2]:
        worker.hooks = [FREEZE, *worker.hooks]
        fleet.keeper.send(worker.name, signal.SIGKILL)
    await_true(lambda: all(fleet.started_lines(n) > 1 for n in range(2)), seconds=SECONDS, what="no worker is back")


def _someone_stands(fleet: Fleet, caller: Caller) -> bool:
    """Whether a worker has frozen; where the sound one was quicker with every job so far, there is one more."""
    if any(map(_stands, fleet.workers[:2])):
        return True
    caller.submit(job_body(len(fleet.seen()), steps=4))
    return False


def _stands(worker: Child) -> bool:
    try:
        return worker.pid is not None and state_of(worker.pid) == "T"
    except FileNotFoundError:
        return False


def _thaw(fleet: Fleet) -> int:
    """Let the frozen go on until none freezes any more; how many there were."""
    frozen = 0
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 1.0:
        for worker in fleet.workers[:2]:
            if _stands(worker) and worker.pid is not None:
                frozen += 1
                os.killpg(worker.pid, signal.SIGCONT)
                quiet_since = time.monotonic()
        time.sleep(0.05)
    return frozen


def _stale_commits(fleet: Fleet) -> tuple[int, int]:
    """Commits of attempts that were no longer the job's, and how many of them were refused."""
    newest: dict[str, int] = {}
    stale = refused = 0
    for seen in fleet.seen():
        if seen.act == "claim":
            newest[seen.job] = max(seen.attempt, newest.get(seen.job, 0))
        elif seen.attempt < newest.get(seen.job, 0):
            stale += 1
            refused += seen.answer != "done"
    return stale, refused


def _stale_objects(fleet: Fleet) -> int:
    """Files of attempts that did not commit."""
    done = {(seen.job, seen.attempt) for seen in fleet.seen() if seen.act == "commit" and seen.answer == "done"}
    places = {(key.split("/")[1], int(key.split("/")[2])) for key in stored_keys(fleet)}
    return len(places - done)


CHECK = Check(
    name="zombies",
    number=4,
    fault="a worker stands still past its lease, right before its commit, and then goes on",
    promise="every stale commit refused, its files swept",
    run=run,
)
