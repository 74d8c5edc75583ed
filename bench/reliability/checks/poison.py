"""The five real poison jobs of the isolation row: jobs that kill whatever process runs them, among innocent ones."""

from __future__ import annotations

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Plan, running
from bench.reliability.judge import code_of, judge, read_records
from bench.reliability.ledger import Ledger, Seen
from bench.reliability.load import Load
from bench.reliability.sabotage import POISON
from bench.reliability.trial import Check, Outcome, Trial, require

DIE = "bench.reliability.sabotage:die_of_poison"
RATE = 15.0


def run(trial: Trial) -> Outcome:
    jobs, poisons = trial.count(2_000, least=40), 5 if trial.scale >= 0.5 else 1
    plan = Plan(worker_hooks=(*trial.hooks, DIE))
    ledger = Ledger()
    with running(plan, trial) as fleet:
        load = Load(fleet, ledger, trial, rate=RATE, most_steps=20)
        caller = Caller(fleet, ledger, "mallory")
        guilty = set()
        with load.sending(jobs):
            for number in range(poisons):
                call = caller.submit(job_body(number, steps=4, prompt=POISON))
                assert call.seen is Seen.OK, f"the poison job was not taken: {call.status} {call.code}"
                guilty.add(call.job)
            while load.sent < jobs:
                load.rest()
        load.close()
        caller.close()
        verdict = judge(fleet, ledger, drain_seconds=90)
        records = read_records(fleet, ledger.accepted())
        convicted = {job for job, record in records.items() if code_of(record) == "poison"}
        deaths = sum(count for name, count in fleet.keeper.deaths.items() if name.startswith("worker"))
        return Outcome(
            figures={
                "jobs": jobs,
                "poison_jobs": poisons,
                "convicted": len(convicted & guilty),
                "innocent_convicted": len(convicted - guilty),
                "process_deaths": deaths,
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    f"{len(guilty - convicted)} poison jobs were not convicted": guilty <= convicted,
                    f"{len(convicted - guilty)} innocent jobs were convicted": convicted <= guilty,
                }
            ),
            settings=plan.shown(),
        )


CHECK = Check(
    name="poison",
    number=0,
    fault="five jobs that kill every process that runs them, among 2,000 others",
    promise="all five convicted, no innocent one",
    run=run,
)
