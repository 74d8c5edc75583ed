"""The ledger: what attempts took and jobs owe, counted once however often a call is repeated."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import redis

from darkroom.costs import BILLIONTHS, Cost, Price
from darkroom.errors import BudgetExhausted
from darkroom.job_store import Claim, Committed, JobStore
from darkroom.jobs import Job, JobError, JobStatus
from darkroom.object_store import LocalObjectStore
from darkroom.owners import OwnerSettings
from darkroom.review import ReviewQueue, Ruling
from darkroom.usage import Usage, UsageLedger
from tests.darkroom.factories import make_image, make_job, read_job, run_one, submit_job
from tests.darkroom.passing_time import end_lease
from tests.fixtures.secret_file import SEALER

S = JobStatus
PRICE = Price(600_000, "EUR")  # 0.0006 a second
ERROR = JobError("generation_failed", "It failed.")


@pytest.fixture
def ledger(redis_client: redis.Redis) -> UsageLedger:
    return UsageLedger(redis_client)


def today(ledger: UsageLedger, owner: str = "ada") -> Usage:
    day = ledger.today()
    return next(iter(ledger.read(day, day, owner=owner)), Usage(owner, day))


def test_a_commit_bills_what_its_attempt_took(store: JobStore, ledger: UsageLedger) -> None:
    job = submit_job(store, price=PRICE)

    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=2_500_000)

    assert read_job(store, job).price == PRICE
    assert read_job(store, job).cost == Cost(2_500_000, 2_500_000, spent=1_500_000, billed=1_500_000)
    used = today(ledger)
    assert (used.jobs, used.images, used.attempts, used.repeats) == ({"succeeded": 1}, 1, 1, 0)
    assert (used.device_us, used.billed_us) == (2_500_000, 2_500_000)
    assert (used.spent, used.billed) == ({"EUR": 1_500_000}, {"EUR": 1_500_000})


def test_a_repeated_commit_counts_once(store: JobStore, ledger: UsageLedger) -> None:
    submit_job(store, price=PRICE)
    claim = run_one(store)

    def commit() -> Committed:
        return store.commit(claim, status=S.SUCCEEDED, images=[make_image()], device_us=1_000)

    commit()
    before = today(ledger)

    assert [commit() for _ in range(3)] == [Committed.DONE] * 3
    assert today(ledger) == before


@pytest.mark.parametrize("status", [S.FAILED, S.BLOCKED, S.CANCELLED, S.EXPIRED])
def test_what_ends_without_released_images_is_spent_but_not_billed(
    store: JobStore, ledger: UsageLedger, status: JobStatus
) -> None:
    job = submit_job(store, price=PRICE)

    store.commit(run_one(store), status=status, error=ERROR, device_us=1_000_000)

    assert read_job(store, job).cost == Cost(device_us=1_000_000, spent=600_000)
    assert today(ledger).billed == {}
    assert today(ledger).spent == {"EUR": 600_000}
    assert today(ledger).jobs == {status: 1}


def test_only_the_attempt_that_made_the_images_is_billed(store: JobStore, ledger: UsageLedger) -> None:
    job = submit_job(store, price=PRICE)
    store.release(run_one(store), device_us=700)
    store.release(run_one(store), transient=True, device_us=50)

    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=1_000)

    assert read_job(store, job).cost.device_us == 1_750
    assert read_job(store, job).cost.billed_us == 1_000
    used = today(ledger)
    assert (used.attempts, used.repeats, used.device_us, used.billed_us) == (3, 2, 1_750, 1_000)


def test_a_lost_attempt_counts_what_its_progress_told(
    store: JobStore, ledger: UsageLedger, redis_client: redis.Redis
) -> None:
    job = submit_job(store)
    lost = run_one(store)
    store.progress(lost, step=3, steps=25, device_us=300)
    store.progress(lost, step=9, steps=25, device_us=900)
    end_lease(redis_client, job)
    store.reap()

    assert store.commit(lost, status=S.SUCCEEDED, images=[make_image()], device_us=2_500) is Committed.LOST
    assert today(ledger).device_us == 900
    store.commit(run_one(store, worker="w2"), status=S.SUCCEEDED, images=[make_image()], device_us=2_000)

    assert read_job(store, job).cost == Cost(device_us=2_900, billed_us=2_000)
    assert (today(ledger).attempts, today(ledger).repeats) == (2, 1)


def test_a_release_that_does_not_know_keeps_what_progress_told(store: JobStore, ledger: UsageLedger) -> None:
    submit_job(store)
    claim = run_one(store)
    store.progress(claim, step=3, steps=25, device_us=300)

    store.release(claim, broke=True)

    assert today(ledger).device_us == 300


@pytest.mark.parametrize(("approved", "billed"), [(True, 600_000), (False, 0)])
def test_images_in_review_are_billed_when_a_person_releases_them(
    store: JobStore, redis_client: redis.Redis, tmp_path: Path, *, approved: bool, billed: int
) -> None:
    ledger, objects = UsageLedger(redis_client), LocalObjectStore(tmp_path, public_url="http://a", secret=b"0" * 16)
    job = submit_job(store, price=PRICE)
    image = make_image(decision="review", key="outputs/released.png")
    store.commit(run_one(store), status=S.IN_REVIEW, images=[image], device_us=1_000_000)
    assert today(ledger).billed == {}

    queue = ReviewQueue(redis_client, objects, SEALER)
    item = queue.lease("bea", seconds=60)
    assert item is not None
    queue.decide(job.id, Ruling({0: approved}, code=None if approved else "violence"), person="bea", fence=item.fence)

    assert read_job(store, job).cost.billed == billed
    assert today(ledger).billed.get("EUR", 0) == billed
    assert today(ledger).device_us == 1_000_000


def test_a_shadow_run_is_nobodys(store: JobStore, ledger: UsageLedger) -> None:
    submit_job(store, price=PRICE, shadow=True)

    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=1_000)

    assert today(ledger) == Usage("ada", ledger.today())
    used = today(ledger, "@shadow")
    assert (used.device_us, used.billed_us) == (1_000, 0)


def test_what_a_job_takes_is_foreseen_from_those_before(store: JobStore, redis_client: redis.Redis) -> None:
    terms = OwnerSettings(spend_per_day=0.001)  # 1,000,000 billionths
    store.submit(make_job(price=PRICE), terms=terms)
    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=500_000)  # 300,000

    waiting = store.submit(make_job(price=PRICE), terms=terms).job
    store.submit(make_job(price=PRICE), terms=terms)

    assert int(redis_client.get("darkroom:reserved:ada") or 0) == pytest.approx(600_000, abs=10)
    with pytest.raises(BudgetExhausted, match="budget of money"):
        store.submit(make_job(price=PRICE), terms=terms)
    store.submit(make_job(price=None), terms=terms)
    store.submit(make_job(price=PRICE, owner="bob"), terms=terms)
    store.cancel(waiting.id, owner="ada")
    store.submit(make_job(price=PRICE), terms=terms)


def test_no_reserve_is_left_when_all_jobs_have_ended(store: JobStore, redis_client: redis.Redis) -> None:
    terms = OwnerSettings(spend_per_day=10)
    store.submit(make_job(price=PRICE), terms=terms)
    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=500_000)
    waiting, running, ended = (store.submit(make_job(price=PRICE), terms=terms).job for _ in range(3))

    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=900_000)
    store.commit(run_one(store), status=S.IN_REVIEW, images=[make_image(decision="review")], device_us=900_000)
    for job in (running, ended):
        store.cancel(job.id, owner="ada")

    assert redis_client.exists("darkroom:reserved:ada") == 0
    assert read_job(store, waiting).status is S.SUCCEEDED


def test_after_a_hundred_mixed_jobs_the_ledger_is_the_sum_of_the_jobs(
    store: JobStore, ledger: UsageLedger, redis_client: redis.Redis
) -> None:
    draw = random.Random(6)
    jobs: list[Job] = []
    took: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    for _ in range(100):
        owner = draw.choice(["ada", "bob", "cy"])
        price = draw.choice([PRICE, Price(1_234_567, "EUR"), Price(777, "USD"), None])
        jobs.append(submit_job(store, owner=owner, price=price))
        end = draw.choice(["succeeded", "failed", "blocked", "released", "lost", "cancelled"])
        claim: Claim = run_one(store, worker=f"w{len(jobs)}")
        microseconds = draw.randrange(1, 5_000_000)
        took[owner] += microseconds
        attempts[owner] += 1
        if end in {"released", "lost"}:
            if end == "released":
                store.release(claim, device_us=microseconds)
            else:
                store.progress(claim, step=1, steps=25, device_us=microseconds)
                end_lease(redis_client, claim.job)
                store.reap()
            claim = run_one(store, worker=f"v{len(jobs)}")
            end, microseconds = "succeeded", draw.randrange(1, 5_000_000)
            took[owner] += microseconds
            attempts[owner] += 1
        made = [make_image(index=index) for index in range(draw.randrange(1, 4))] if end == "succeeded" else []
        for _ in range(draw.randrange(1, 3)):  # a reply was lost
            store.commit(claim, status=S(end), images=made, error=None if made else ERROR, device_us=microseconds)

    ended = [read_job(store, job) for job in jobs]
    day = ledger.today()
    used = {usage.owner: usage for usage in ledger.read(day, day)}
    assert set(used) == {"ada", "bob", "cy"}
    for owner, usage in used.items():
        own = [job for job in ended if job.owner == owner]
        assert usage.device_us == took[owner] == sum(job.cost.device_us for job in own)
        assert usage.billed_us == sum(job.cost.billed_us for job in own)
        assert (usage.attempts, usage.repeats) == (attempts[owner], attempts[owner] - len(own))
        assert usage.images == sum(len(job.images) for job in own)
        assert usage.jobs == dict(Counter(job.status for job in own))
        for kind in ("spent", "billed"):
            sums: Counter[str] = Counter()
            for job in own:
                if job.price is not None:
                    sums[job.price.currency] += getattr(job.cost, kind)
            amounts = getattr(usage, kind)
            assert {currency: amounts.get(currency, 0) for currency in sums} == dict(sums)


def test_amounts_are_those_of_whole_billionths(store: JobStore) -> None:
    job = submit_job(store, price=Price(1, "EUR"))

    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=1_999_999)

    assert read_job(store, job).cost.billed == 1
    assert PRICE.of(2.5) == pytest.approx(1_500_000 / BILLIONTHS)


def test_days_without_use_are_left_out(ledger: UsageLedger, store: JobStore) -> None:
    submit_job(store)
    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()], device_us=1)

    day = ledger.today()
    assert [usage.day for usage in ledger.read(day.replace(day=1), day)] == [day]
    assert ledger.read(date(1999, 1, 1), date(1999, 2, 1), owner="ada") == []


def test_a_job_refused_at_the_door_is_counted(store: JobStore, ledger: UsageLedger) -> None:
    job = make_job(status=S.BLOCKED, error=JobError("prompt_violence", "Refused."), price=PRICE)
    store.submit(job)
    store.submit(job)

    assert today(ledger).jobs == {"blocked": 1}
    assert today(ledger).attempts == 0
