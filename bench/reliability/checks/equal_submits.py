"""Row 7: equal submissions with one Idempotency-Key at the same moment, to two API processes' worth of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Plan, random_key, running
from bench.reliability.judge import every_id, judge
from bench.reliability.ledger import Ledger, Seen
from bench.reliability.trial import Check, Outcome, Trial, require

EQUAL = 100


def run(trial: Trial) -> Outcome:
    rounds = trial.count(20, least=2)
    plan = Plan(workers=1, worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        caller = Caller(fleet, ledger, "ada", timeout=30)
        most, refused, others = 0, 0, 0
        with ThreadPoolExecutor(EQUAL) as pool:
            for number in range(rounds):
                key, body = random_key(), job_body(number, steps=2)
                calls = list(pool.map(lambda _, b=body, k=key: caller.submit(b, key=k), range(EQUAL)))
                most = max(most, len({call.job for call in calls if call.seen is Seen.OK}))
                refused += sum(call.seen is not Seen.OK for call in calls)
                others += caller.submit(job_body(number + 1, steps=3), key=key).status != 422
        caller.close()
        stored = len(every_id(fleet))
        verdict = judge(fleet, ledger, drain_seconds=60)
        return Outcome(
            figures={
                "rounds": rounds,
                "equal_calls": EQUAL,
                "most_jobs_a_round": most,
                "jobs_stored": stored,
                "calls_refused": refused,
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    f"{stored} jobs are stored for {rounds} keys": stored == rounds,
                    f"{refused} of the equal calls got no job": refused == 0,
                    f"{others} calls with the same key and another body were not refused with 422": others == 0,
                }
            ),
            settings=plan.shown(),
        )


CHECK = Check(
    name="equal_submits",
    number=7,
    fault=f"{EQUAL} equal submissions with one Idempotency-Key at the same moment",
    promise="one job, and everybody gets it",
    run=run,
)
