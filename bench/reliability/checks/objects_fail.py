"""Row 5: an object store that is down, slow, answers 500, or cuts uploads."""

from __future__ import annotations

import time

from bench.reliability.fleet import Plan, running
from bench.reliability.judge import judge
from bench.reliability.ledger import Ledger
from bench.reliability.load import Load
from bench.reliability.tcp_proxy import Mode
from bench.reliability.trial import Check, Outcome, Trial, require

FAULTS = (Mode.REFUSE, Mode.SLOW, Mode.ERROR, Mode.CUT)
FAULT_SECONDS, SOUND_SECONDS = 4.0, 3.0


def run(trial: Trial) -> Outcome:
    rounds = trial.count(10, least=1)
    plan = Plan(workers=2, objects_proxied=True, worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        proxy = fleet.objects_proxy
        assert proxy is not None, "the plan asks for it"
        load = Load(fleet, ledger, trial, rate=10, most_steps=8)
        with load.sending():
            for _ in range(rounds):
                for fault in FAULTS:
                    proxy.set(fault)
                    time.sleep(FAULT_SECONDS)
                    proxy.set(Mode.PASS)
                    time.sleep(SOUND_SECONDS)
        load.close()
        verdict = judge(fleet, ledger, drain_seconds=90)
        return Outcome(
            figures={"faults": rounds * len(FAULTS), "kinds": [fault.value for fault in FAULTS], **verdict.figures},
            broken=require(
                verdict.rules
                | {
                    "a job failed of something else than the object store": set(verdict.codes)
                    <= {"object_store_unavailable"}
                }
            ),
            settings=plan.shown(),
        )


CHECK = Check(
    name="objects_fail",
    number=5,
    fault="object store down, slow, answering 500, cutting uploads",
    promise="no job succeeded without readable, hash-equal files",
    run=run,
)
