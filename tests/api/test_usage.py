"""What jobs cost: quoted before, told in the job, and summed up by owner and day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus
from darkroom.keys import KeyStore, Scope
from darkroom.owners import Owners, OwnerSettings
from darkroom.prices import Prices
from darkroom.redis_client import make_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.api.service import Caller, Places, make_png, make_services, serving
from tests.darkroom.factories import claim_next, make_image
from tests.fixtures.secret_file import SEALER

PRICES = 'currency = "EUR"\n[default]\nper_second = 0.5\n[plans.half]\nfactor = 0.5\n'
ASKED = {"prompt": "a red circle", "num_inference_steps": 25}


@pytest.fixture
def connection(places: Places) -> Iterator[redis.Redis]:
    with make_redis(RedisSettings(redis_url=places.redis_url)) as client:
        yield client


@pytest.fixture
def priced(places: Places, tmp_path: Path) -> Iterator[TestClient]:
    table = tmp_path / "prices.toml"
    table.write_text(PRICES, encoding="utf-8")
    services = replace(make_services(places), prices=Prices.from_file(table))
    with serving(services) as client:
        yield client


def work(connection: redis.Redis, *, seconds: float, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    """Be the worker that ends every waiting job."""
    store = JobStore(connection, JobSettings(), SEALER)
    images = [make_image()] if status is JobStatus.SUCCEEDED else []
    while claim := claim_next(store):
        store.commit(claim, status=status, images=images, device_us=round(seconds * 1e6))


def test_a_job_tells_what_it_took_and_costs(priced: TestClient, keys: KeyStore, connection: redis.Redis) -> None:
    caller = Caller(priced, keys)
    job = caller.generate(ASKED).json()["id"]
    assert caller.get(f"/jobs/{job}").json()["cost"]["device_seconds"] == 0

    work(connection, seconds=1.5)

    cost = caller.get(f"/jobs/{job}").json()["cost"]
    assert cost == {"device_seconds": 1.5, "billed_seconds": 1.5, "amount": 0.75, "currency": "EUR"}


def test_a_dry_run_stores_nothing(priced: TestClient, keys: KeyStore, connection: redis.Redis) -> None:
    caller = Caller(priced, keys)
    before = set(connection.scan_iter("darkroom:job:*"))

    first = caller.generate({**ASKED, "dry_run": True})

    assert first.status_code == 200
    assert first.json()["params"]["num_inference_steps"] == 25
    assert caller.get("/jobs").json()["jobs"] == []
    assert set(connection.scan_iter("darkroom:job:*")) == before
    assert "Location" not in first.headers


def test_a_quote_follows_what_jobs_of_the_model_took(
    priced: TestClient, keys: KeyStore, connection: redis.Redis
) -> None:
    caller = Caller(priced, keys)
    caller.generate(ASKED)
    work(connection, seconds=2.0)

    half = caller.generate({**ASKED, "num_images": 3, "dry_run": True}).json()

    shown = connection.hgetall("darkroom:rates")
    device = next(float(rate) for name, rate in shown.items() if name.startswith("device:"))  # type: ignore[union-attr]
    params = half["params"]
    expected = device * params["width"] * params["height"] * 25 * 3 / 1e6
    assert half["device_seconds"] == pytest.approx(expected)
    assert half["amount"] == pytest.approx(expected * 0.5)
    assert half["currency"] == "EUR"


def test_a_quote_is_as_strict_as_a_job(places: Places, keys: KeyStore) -> None:
    owners = Owners(default=OwnerSettings(max_queued=1))
    with serving(replace(make_services(places), owners=owners)) as client:
        caller = Caller(client, keys)
        wrong = caller.generate({**ASKED, "width": 63, "dry_run": True})
        caller.generate(ASKED)
        full = caller.generate({**ASKED, "dry_run": True})

    assert (wrong.status_code, full.status_code) == (422, 429)


def test_a_quote_with_an_image_keeps_no_file(priced: TestClient, keys: KeyStore, places: Places) -> None:
    caller = Caller(priced, keys)
    before = sorted(places.objects.rglob("*"))

    answer = caller.generate_form({"prompt": "a red circle", "dry_run": True}, {"init_image": make_png(128, 128)})

    assert answer.status_code == 200
    assert sorted(places.objects.rglob("*")) == before


def test_usage_is_that_of_the_callers_owner(priced: TestClient, keys: KeyStore, connection: redis.Redis) -> None:
    caller, other = Caller(priced, keys), Caller(priced, keys)
    caller.generate(ASKED)
    work(connection, seconds=1.0)
    caller.generate(ASKED)
    work(connection, seconds=0.25, status=JobStatus.FAILED)

    (day,) = caller.get("/usage").json()["days"]

    assert day["owner"] == caller.owner
    assert day["jobs"] == {"failed": 1, "succeeded": 1}
    assert (day["images"], day["attempts"], day["repeats"]) == (1, 2, 0)
    assert (day["device_seconds"], day["billed_seconds"]) == (1.25, 1.0)
    assert (day["spent"], day["billed"]) == ({"EUR": 0.625}, {"EUR": 0.5})
    assert other.get("/usage").json()["days"] == []


def test_only_operators_read_what_others_used(priced: TestClient, keys: KeyStore, connection: redis.Redis) -> None:
    caller = Caller(priced, keys)
    operator = Caller(priced, keys, scopes=(Scope.ADMIN, Scope.READ))
    caller.generate(ASKED)
    work(connection, seconds=1.0)

    assert caller.get("/usage?owner=*").status_code == 403
    assert caller.get(f"/usage?owner={operator.owner}").status_code == 403
    assert [day["owner"] for day in operator.get(f"/usage?owner={caller.owner}").json()["days"]] == [caller.owner]
    assert caller.owner in {day["owner"] for day in operator.get("/usage?owner=*").json()["days"]}


@pytest.mark.parametrize("span", ["from=2026-02-01&to=2026-01-01", "from=2020-01-01&to=2026-01-01"])
def test_a_span_of_no_days_or_too_many_is_refused(priced: TestClient, keys: KeyStore, span: str) -> None:
    answer = Caller(priced, keys).get(f"/usage?{span}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "from"


@pytest.mark.parametrize("given", ["x", "2026-13-01", "2026-01-01T10:00:00", "yesterday"])
def test_what_is_no_date_is_told_what_one_looks_like(priced: TestClient, keys: KeyStore, given: str) -> None:
    (error,) = Caller(priced, keys).get(f"/usage?from={given}").json()["errors"]

    assert (error["field"], error["message"].split(",")[0]) == ("from", "must be a date like 2026-11-30")


def test_money_runs_out_for_the_day(places: Places, keys: KeyStore, connection: redis.Redis, tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    table.write_text(PRICES, encoding="utf-8")
    owners = Owners(default=OwnerSettings(spend_per_day=0.5))
    connection.delete("darkroom:rates")  # nothing is expected of the first job yet
    with serving(replace(make_services(places), prices=Prices.from_file(table), owners=owners)) as client:
        caller = Caller(client, keys)
        assert caller.generate(ASKED).status_code == 202
        work(connection, seconds=1.0)
        refused = caller.generate(ASKED)

    assert (refused.status_code, refused.json()["code"]) == (429, "budget_exhausted")
    assert refused.headers["RateLimit-Policy"] == '"spend";q=50;w=86400'


def test_the_first_day_that_can_be_written_is_no_fault(priced: TestClient, keys: KeyStore) -> None:
    assert Caller(priced, keys).get("/usage?to=0001-01-01").json()["days"] == []
