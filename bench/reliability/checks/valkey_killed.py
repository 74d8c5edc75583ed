"""Row 2: Valkey killed and started again under load."""

from __future__ import annotations

import bisect
import time

from bench.reliability.fleet import Fleet, Plan, running
from bench.reliability.judge import judge
from bench.reliability.ledger import Call, Ledger, Seen
from bench.reliability.load import Load, percentile
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true

RATE = 20.0
OUTAGES = (0.3, 0.3, 3.0, 0.3, 8.0)  # seconds, over and over
SHORT_OUTAGE = 5.0
REFUSAL_SECONDS = 2.0
SOON_SECONDS, LATE_SECONDS = 10.0, 35.0  # for work to go on after short and after longer outages


def run(trial: Trial) -> Outcome:
    kills = trial.count(20, least=3)
    plan = Plan(workers=2, worker_hooks=trial.hooks)
    ledger = Ledger()
    with running(plan, trial) as fleet:
        load = Load(fleet, ledger, trial, rate=RATE, most_steps=8)
        outages = []
        with load.sending():
            for number in range(kills):
                time.sleep(trial.random().uniform(2, 4))
                outages.append(_outage(fleet, OUTAGES[number % len(OUTAGES)]))
            time.sleep(2)
        load.close()
        verdict = judge(fleet, ledger, drain_seconds=60)
        resumed = _resumed(fleet, outages)
        submits = ledger.calls("submit")
        refused = [call for call in submits if call.status == 503]
        slowest = percentile([call.seconds for call in refused], 1)
        return Outcome(
            figures={
                "kills": kills,
                "outages_seconds": sorted({round(end - start, 1) for start, end in outages}),
                "answers": ledger.statuses(),
                "answered_503": len(refused),
                "without_retry_after": sum(not call.retry_after for call in refused),
                "slowest_503_seconds": round(slowest, 2),
                "resumed_seconds": {kind: round(seconds, 1) for kind, seconds in resumed.items()},
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    "an answer was a 5xx other than 503": not _server_faults(submits),
                    "a 503 has no Retry-After": all(call.retry_after for call in refused),
                    f"a 503 took {slowest:.1f} s": slowest <= REFUSAL_SECONDS,
                    "a call had no answer at all": verdict.unknown == 0,
                    f"work went on {resumed['short']:.1f} s after a short outage": resumed["short"] <= SOON_SECONDS,
                    f"work went on {resumed['long']:.1f} s after a long outage": resumed["long"] <= LATE_SECONDS,
                }
            ),
            settings=plan.shown() | {"submits_per_second": RATE},
        )


def _outage(fleet: Fleet, seconds: float) -> tuple[float, float]:
    """Kill the server and start it after so long; when it was gone and when it answered again."""
    fleet.keeper.take_down("valkey")
    gone = time.time()
    time.sleep(seconds)
    fleet.keeper.bring_up("valkey")
    await_true(fleet.valkey_answers, seconds=30, what="Valkey is not back")
    return gone, time.time()


def _resumed(fleet: Fleet, outages: list[tuple[float, float]]) -> dict[str, float]:
    """The longest time from the server's return to the next claim, after short outages and after longer ones."""
    claims = sorted(seen.at for seen in fleet.seen() if seen.act == "claim")
    worst = {"short": 0.0, "long": 0.0}
    for gone, back in outages:
        place = bisect.bisect(claims, back)
        waited = claims[place] - back if place < len(claims) else float("inf")
        kind = "short" if back - gone < SHORT_OUTAGE else "long"
        worst[kind] = max(worst[kind], waited)
    return worst


def _server_faults(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.seen is Seen.REFUSED and call.status >= 500 and call.status != 503]


CHECK = Check(
    name="valkey_killed",
    number=2,
    fault="Valkey killed and started again under 20 submissions a second",
    promise="no accepted job lost; 503 with Retry-After within 2 s, never 500; work goes on",
    run=run,
)
