"""Row 8: cancels at every stage of a job's life."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Plan, running
from bench.reliability.judge import judge, read_records
from bench.reliability.ledger import Ledger, Seen
from bench.reliability.trial import Check, Outcome, Trial, require

THREADS = 8
STEPS = 20


def run(trial: Trial) -> Outcome:
    jobs = trial.count(1_000, least=60)
    plan = Plan(workers=2, worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        caller = Caller(fleet, ledger, "ada")
        chance = trial.random()
        # From before the claim to after the end; a job of 20 steps takes about half a second among others.
        pauses = [chance.choice((0.0, chance.uniform(0, 0.3), chance.uniform(0, 1.5))) for _ in range(jobs)]
        accepted: dict[str, str] = {}

        def live(number: int) -> None:
            job = caller.submit(job_body(number, steps=STEPS)).job
            time.sleep(pauses[number])
            call, body = caller.cancel(job)
            if call.seen is Seen.OK:
                accepted[job] = str(body["status"])

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(live, range(jobs)))
        caller.close()
        verdict = judge(fleet, ledger, drain_seconds=120)
        records = read_records(fleet, accepted)
        results = [
            job for job, record in records.items() if record["status"] == "succeeded" or record["images"] != "[]"
        ]
        stages = Counter(accepted.values())
        return Outcome(
            figures={
                "jobs": jobs,
                "cancels_accepted": len(accepted),
                "stages": dict(stages),
                "too_late": sum(call.status == 409 for call in ledger.calls("cancel")),
                "results_after_cancel": len(results),
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    f"{len(results)} cancelled jobs have a result": not results,
                    "no cancel met a running job, so nothing is shown": stages["running"] > 0,
                }
            ),
            settings=plan.shown(),
        )


CHECK = Check(
    name="cancels",
    number=8,
    fault="cancels at random moments between submission and end",
    promise="never a result after an accepted cancel",
    run=run,
)
