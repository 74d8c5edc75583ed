"""Row 10: one owner floods the queue, and another comes with a few jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Plan, running
from bench.reliability.judge import judge
from bench.reliability.ledger import Ledger
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true

FEW = 20
STEPS = 4
THREADS = 16


def run(trial: Trial) -> Outcome:
    flood = trial.count(5_000, least=150)
    plan = Plan(workers=2, worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        flooder, guest = Caller(fleet, ledger, "flora"), Caller(fleet, ledger, "gus")
        fleet.keeper.pause([worker.name for worker in fleet.workers])  # so that the flood stands before the guest comes
        with ThreadPoolExecutor(THREADS) as pool:
            floods = list(pool.map(lambda number: flooder.submit(job_body(number, steps=STEPS)), range(flood)))
            guests = list(pool.map(lambda number: guest.submit(job_body(number, steps=STEPS)), range(FEW)))
        fleet.keeper.resume([worker.name for worker in fleet.workers])
        wanted = {call.job for call in guests}
        await_true(
            lambda: wanted <= {seen.job for seen in fleet.seen() if seen.act == "claim"},
            seconds=300,
            what="the guest's jobs have not all started",
        )
        claims = [seen for seen in fleet.seen() if seen.act == "claim"]
        last = max(number for number, seen in enumerate(claims) if seen.job in wanted)
        between = last + 1 - FEW
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda call: flooder.cancel(call.job), floods))
        flooder.close()
        guest.close()
        verdict = judge(fleet, ledger, drain_seconds=120)
        return Outcome(
            figures={
                "flood": flood,
                "guest_jobs": FEW,
                "others_started_before_the_guests_last": between,
                "seconds_to_the_guests_last_start": round(claims[last].at - claims[0].at, 2),
                **verdict.figures,
            },
            broken=require(
                verdict.rules | {f"{between} jobs of the flood started before the guest's last": between <= 2 * FEW}
            ),
            settings=plan.shown(),
        )


CHECK = Check(
    name="flood",
    number=10,
    fault="one owner floods 5,000 jobs, another submits 20",
    promise="the 20 start within twice their fair share",
    run=run,
)
