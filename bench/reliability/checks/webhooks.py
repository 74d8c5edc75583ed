"""Row 12: a receiver that misbehaves, and a delivery process that is killed again and again."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import redis.asyncio
from standardwebhooks import Webhook, WebhookVerificationError

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Fleet, Plan, running
from bench.reliability.judge import judge
from bench.reliability.killer import Killer
from bench.reliability.ledger import Ledger
from bench.reliability.sink import GONE, Received, Sink
from bench.reliability.trial import Check, Outcome, Trial, require
from bench.reliability.waiting import await_true
from darkroom.webhooks import Endpoint, EndpointStore

FAULTY = 0.4
KILL_SECONDS = 1.5
TERMINAL = ("job.succeeded", "job.failed", "job.blocked", "job.cancelled", "job.expired")
DRAIN_SECONDS = 180


def run(trial: Trial) -> Outcome:
    jobs, kills = trial.count(500, least=30), trial.count(50, least=3)
    sink, ledger = Sink(trial.random(), faulty=FAULTY), Ledger()
    plan = Plan(
        workers=2,
        delivery=True,
        worker_hooks=trial.hooks,
        environment={
            "DARKROOM_WEBHOOK_HTTP": "true",
            "DARKROOM_WEBHOOK_PORTS": str(sink.port),
            "DARKROOM_WEBHOOK_NETWORKS": "127.0.0.0/8",
            "DARKROOM_DELIVERY_TIMEOUT_SECONDS": "2",
            "DARKROOM_DELIVERY_RETRY_SECONDS": ",".join(["1", "1", "2", "2", *["3"] * 40]),
        },
    )
    try:
        with running(plan, trial) as fleet:
            good = asyncio.run(_endpoint(fleet, "ada", sink.url + "/hook"))
            asyncio.run(_endpoint(fleet, "gus", sink.url + GONE))
            caller, gone = Caller(fleet, ledger, "ada"), Caller(fleet, ledger, "gus")
            gone.submit(job_body(0, steps=2))
            killer = Killer(fleet.keeper, ["delivery"], seconds=KILL_SECONDS, chance=trial.random())
            with killer.killing(kills) as thread:
                for number in range(jobs):
                    call = caller.submit(job_body(number, steps=2))
                    if number % 5 == 0:
                        caller.cancel(call.job)
                    thread.join(kills * KILL_SECONDS / jobs)
                thread.join()
            caller.close()
            gone.close()
            verdict = judge(fleet, ledger, drain_seconds=120)
            sink.faulty = 0.0
            wanted = {job for job, owner in ledger.accepted().items() if owner == "ada"}
            missing = _await_all(sink, wanted)
            return _outcome(plan, sink, good, killer.kills, wanted=wanted, missing=missing, verdict=verdict.figures)
    finally:
        sink.close()


def _outcome(
    plan: Plan, sink: Sink, endpoint: Endpoint, kills: int, *, wanted: set[str], missing: set[str], verdict: object
) -> Outcome:
    ids: dict[str, set[str]] = defaultdict(set)
    for each in sink.received:
        if _is_terminal(each) and each.path != GONE:
            ids[each.job].add(each.event)
    doubled = [job for job, events in ids.items() if len(events) > 1]
    unsigned = [each for each in sink.received if each.path != GONE and not _is_signed(each, endpoint)]
    gone = sum(each.path == GONE for each in sink.received)
    taken = [each for each in sink.taken() if _is_terminal(each)]
    return Outcome(
        figures={
            "jobs": len(wanted),
            "kills": kills,
            "deliveries_seen": len(sink.received),
            "terminal_taken": len(taken),
            "taken_again": len(taken) - len({each.event for each in taken}),
            "jobs_without_delivery": len(missing),
            "jobs_with_two_event_ids": len(doubled),
            "bad_signatures": len(unsigned),
            "calls_after_410": max(gone - 1, 0),
            "jobs_at_their_end": verdict,
        },
        broken=require(
            {
                f"{len(missing)} jobs' ends were not delivered": not missing,
                f"{len(doubled)} ends have two event ids": not doubled,
                f"{len(unsigned)} signatures are not valid": not unsigned,
                "an endpoint that is gone was called again": gone <= 1 + kills,
            }
        ),
        settings=plan.shown() | {"share_of_faults": FAULTY},
    )


async def _endpoint(fleet: Fleet, owner: str, url: str) -> Endpoint:
    client = redis.asyncio.Redis(port=fleet.valkey_port, decode_responses=True)
    try:
        store = EndpointStore(client, fleet.sealer)
        return await store.create(owner, url=url, events=TERMINAL, description="a sink")
    finally:
        await client.aclose()


def _await_all(sink: Sink, wanted: set[str]) -> set[str]:
    """Wait until every job's end was taken; those whose was not."""

    def missing() -> set[str]:
        return wanted - {each.job for each in sink.taken() if _is_terminal(each)}

    try:
        await_true(lambda: not missing(), seconds=DRAIN_SECONDS, what="webhooks are missing")
    except TimeoutError:
        return missing()
    return set()


def _is_terminal(received: Received) -> bool:
    return any(f'"{name}"'.encode() in received.body for name in TERMINAL)


def _is_signed(received: Received, endpoint: Endpoint) -> bool:
    try:
        Webhook(endpoint.secrets[0].text).verify(received.body, received.headers)
    except WebhookVerificationError:
        return False
    return True


CHECK = Check(
    name="webhooks",
    number=12,
    fault="a receiver that answers 500, 429, nothing, or hangs up, 4 times of 10; the delivery process killed 50 times",
    promise="every job's end delivered at least once, one constant event id, valid signatures; 410 disables",
    run=run,
)
