"""Row 11: owners over their own cap, and all of them over everybody's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Plan, running
from bench.reliability.judge import every_id, judge
from bench.reliability.ledger import Ledger, Seen
from bench.reliability.load import OWNERS
from bench.reliability.trial import Check, Outcome, Trial, require

OWN_CAP, SHARED_CAP = 30, 100  # queued jobs of one owner, and of all five
THREADS = 16


def run(trial: Trial) -> Outcome:
    calls = trial.count(20_000, least=500)
    plan = Plan(
        workers=1,
        worker_hooks=trial.hooks,
        environment={
            "DARKROOM_OWNERS_FILE": str(trial.folder / "owners.toml"),
            "DARKROOM_MAX_QUEUED": str(SHARED_CAP),
        },
    )
    trial.folder.mkdir(parents=True)
    (trial.folder / "owners.toml").write_text(f"[default]\nmax_queued = {OWN_CAP}\n", encoding="utf-8")
    ledger = Ledger()
    with running(plan, trial) as fleet:
        fleet.keeper.pause(["worker-0"])  # so that nothing leaves the queue meanwhile
        callers = [Caller(fleet, ledger, owner) for owner in OWNERS]
        with ThreadPoolExecutor(THREADS) as pool:
            # Two owners come to their own caps; then all five to everybody's.
            list(pool.map(lambda number: callers[number % 2].submit(job_body(number, steps=2)), range(calls // 2)))
            before = int(fleet.redis.info("memory")["used_memory"])
            list(pool.map(lambda number: callers[number % 5].submit(job_body(number, steps=2)), range(calls // 2)))
        grown = int(fleet.redis.info("memory")["used_memory"]) - before
        stored = len(every_id(fleet))
        fleet.keeper.resume(["worker-0"])
        for caller in callers:
            caller.close()
        refused = [call for call in ledger.calls("submit") if call.seen is Seen.REFUSED]
        verdict = judge(fleet, ledger, drain_seconds=120)
        return Outcome(
            figures={
                "calls": calls,
                "answers": ledger.statuses(),
                "without_retry_after": sum(not call.retry_after for call in refused),
                "jobs_stored": stored,
                "redis_bytes_more": grown,
                **verdict.figures,
            },
            broken=require(
                verdict.rules
                | {
                    "a refusal has no Retry-After": all(call.retry_after for call in refused),
                    "a refusal is neither 429 nor 503": {call.status for call in refused} <= {429, 503},
                    f"{stored} jobs are stored, over the cap of {SHARED_CAP}": stored <= SHARED_CAP,
                    "something refused was stored": stored == verdict.accepted,
                    "nobody met their own cap, or nobody the shared one": {call.status for call in refused}
                    >= {429, 503},
                    f"Redis holds {grown} bytes more after more refusals": grown < 1_000_000,
                }
            ),
            settings=plan.shown() | {"own_cap": OWN_CAP, "shared_cap": SHARED_CAP},
        )


CHECK = Check(
    name="over_caps",
    number=11,
    fault="five owners submit 20,000 jobs over their own cap and everybody's",
    promise="429 or 503 with Retry-After, nothing stored, memory flat",
    run=run,
)
