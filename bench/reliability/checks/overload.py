"""Row 16: a long queue, and submissions faster than the workers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Plan, running
from bench.reliability.judge import judge
from bench.reliability.ledger import Ledger
from bench.reliability.load import Load, percentile
from bench.reliability.trial import Check, Outcome, Trial, require

RATE = 200.0
SECONDS = 60.0
CLAIM_SECONDS, SUBMIT_SECONDS = 0.020, 0.150
THREADS = 16


def run(trial: Trial) -> Outcome:
    queue, seconds = trial.count(20_000, least=300), max(SECONDS * min(trial.scale, 1), 3)
    plan = Plan(workers=1, worker_hooks=trial.hooks, niceness=10)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        names = [worker.name for worker in fleet.workers]
        fleet.keeper.pause(names)  # so that the queue is as long as it is meant to be
        callers = [Caller(fleet, ledger, owner) for owner in ("flora", "gus")]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda number: callers[number % 2].submit(job_body(number, steps=2)), range(queue)))
        fleet.keeper.resume(names)
        filled = time.time()
        load = Load(fleet, ledger, trial, rate=RATE, most_steps=2)
        load.send(round(RATE * seconds))
        load.close()
        sent = time.time()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(callers[0].cancel, _of(ledger, "flora")))
            list(pool.map(callers[1].cancel, _of(ledger, "gus")))
        for caller in callers:
            caller.close()
        verdict = judge(fleet, ledger, drain_seconds=90)
        submits = [call for call in ledger.calls("submit") if call.began >= filled]
        claims = [seen.seconds for seen in fleet.seen() if seen.act == "claim" and seen.at >= filled]
        slow_submit = percentile([call.seconds for call in submits], 0.99)
        slow_claim = percentile(claims, 0.99)
        faults = sum(call.status >= 500 for call in ledger.calls())
        return Outcome(
            figures={
                "queue": queue,
                "submits_per_second": round(len(submits) / (sent - filled), 1),
                "submit_p50_ms": round(percentile([call.seconds for call in submits], 0.5) * 1_000, 1),
                "submit_p99_ms": round(slow_submit * 1_000, 1),
                "claims": len(claims),
                "claim_p99_ms": round(slow_claim * 1_000, 1),
                "answers_5xx": faults,
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    f"claims took {slow_claim * 1_000:.0f} ms (p99)": slow_claim < CLAIM_SECONDS,
                    f"submissions took {slow_submit * 1_000:.0f} ms (p99)": slow_submit < SUBMIT_SECONDS,
                    f"{faults} answers were 5xx": faults == 0,
                }
            ),
            settings=plan.shown(),
        )


def _of(ledger: Ledger, owner: str) -> list[str]:
    return [job for job, each in ledger.accepted().items() if each == owner]


CHECK = Check(
    name="overload",
    number=16,
    fault="a queue of 20,000 jobs, and 200 submissions a second for a minute",
    promise="claims under 20 ms and submissions under 150 ms (p99), no 5xx, every job ends",
    run=run,
)
