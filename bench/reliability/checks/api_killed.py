"""Row 6: API processes killed between the record and the reply, and callers that try again with the same key."""

from __future__ import annotations

import time

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Plan, random_key, running
from bench.reliability.judge import every_id, judge
from bench.reliability.ledger import Call, Ledger, Seen
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true

DIE = "bench.reliability.sabotage:die_round_submit"
TRIES = 200  # of one key; each API process dies of its first new job


def run(trial: Trial) -> Outcome:
    wanted = trial.count(500, least=10)
    plan = Plan(workers=1, api_hooks=(DIE,), worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        caller = Caller(fleet, ledger, "ada")
        keys = replays = 0
        while fleet.keeper.deaths.get("api-0", 0) < wanted:
            key, body = random_key(), job_body(keys, steps=2)
            call = _insist(caller, body, key)
            again = _insist(caller, body, key)
            keys += 1
            replays += again.replayed
            if call.job != again.job:
                return Outcome(figures={"keys": keys}, broken=("a retry got another job",), settings=plan.shown())
        caller.close()
        deaths = fleet.keeper.deaths["api-0"]
        await_true(fleet.is_ready, seconds=60, what="the API is not back")
        stored = len(every_id(fleet))
        verdict = judge(fleet, ledger, drain_seconds=120)
        unanswered = sum(call.seen is Seen.UNKNOWN and call.seconds > 0.002 for call in ledger.calls("submit"))
        return Outcome(
            figures={
                "api_deaths": deaths,
                "keys": keys,
                "jobs_stored": stored,
                "replays": replays,
                "calls_cut": unanswered,
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    f"{stored} jobs are stored for {keys} keys": stored == keys,
                    "a retry after an answer did not find its job": replays == keys,
                }
            ),
            settings=plan.shown(),
        )


def _insist(caller: Caller, body: dict[str, object], key: str) -> Call:
    """Try again with the same key until there is an answer."""
    for _ in range(TRIES):
        call = caller.submit(body, key=key)
        if call.seen is Seen.OK:
            return call
        time.sleep(0.05)
    raise TimeoutError("no API process answered")


CHECK = Check(
    name="api_killed",
    number=6,
    fault="API processes killed between record and reply; callers retry with the same Idempotency-Key",
    promise="one job a key, and each retry finds it",
    run=run,
)
