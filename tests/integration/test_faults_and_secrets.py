"""A worker that is killed, a job that is cancelled, and a prompt that must stay where it belongs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import pytest
import redis

from darkroom.jobs import Tier
from darkroom.tickets import queue_name
from tests.fixtures.processes import eventually
from tests.integration.service import Caller, Service, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CANARY = "xylocopa"  # a word that nothing else in the service says
LONG = {"num_inference_steps": 200, "scheduler": "ddim"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    quick = {"LEASE": "3", "HEARTBEAT": "0.5", "REAPER": "1", "GRACE": "1"}
    settings = {f"DARKROOM_{name}_SECONDS": value for name, value in quick.items()}
    with serving(tmp_path_factory.mktemp("faults"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    caller = Caller(service)
    yield caller
    caller.http.close()


def test_a_cancelled_job_stops_and_shows_nothing(caller: Caller) -> None:
    job_id = caller.submit(prompt="a red circle", **LONG)
    eventually(lambda: caller.read(job_id)["progress"]["step"], seconds=120)

    assert caller.http.post(f"/jobs/{job_id}/cancel").status_code == 200

    job = caller.result(job_id)
    assert (job["status"], job["images"]) == ("cancelled", [])
    assert job["progress"]["step"] < 200


def test_a_job_survives_the_death_of_its_worker(service: Service, caller: Caller) -> None:
    job_id = caller.submit(prompt="a blue star", **LONG)
    eventually(lambda: caller.read(job_id)["progress"]["step"], seconds=120)

    service.workers[-1].kill()
    service.start_worker()

    job = caller.result(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert caller.download(job["images"][0]).content


def test_a_prompt_is_sealed_wherever_it_lies(service: Service, caller: Caller) -> None:
    with Listening(service) as heard:
        job_id = caller.submit(prompt=f"a {CANARY} circle", negative_prompt=f"no {CANARY}", num_inference_steps=4)
        assert caller.result(job_id)["status"] == "succeeded"

    commands = heard.commands
    assert any(queue_name(Tier.STANDARD) in command for command in commands), "the ticket was not seen"
    assert any(job_id in command for command in commands), "the record was not seen"
    assert not [command.split(" ", 1)[0] for command in commands if CANARY in command]
    assert _keys_that_hold(service.redis, CANARY) == []
    logs = service.logs()
    assert job_id in logs
    assert CANARY not in logs
    for secret in (service.token, service.environment["DARKROOM_LINK_SECRET"], "signature="):
        assert secret not in logs


class Listening:
    """Hears every command that the server gets, the tickets' passing included."""

    def __init__(self, service: Service) -> None:
        self.commands: list[str] = []
        self._url = service.environment["DARKROOM_REDIS_URL"]
        self._client = redis.Redis.from_url(self._url)
        self._monitor = self._client.monitor()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._monitor.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with redis.Redis.from_url(self._url) as client:
            client.ping()
            client.echo("the last word")
        eventually(lambda: any("the last word" in command for command in self.commands), seconds=10)
        self._thread.join(10)
        self._monitor.__exit__(None, None, None)
        self._client.close()

    def _listen(self) -> None:
        with suppress(redis.ConnectionError):
            for command in self._monitor.listen():
                self.commands.append(str(command["command"]))
                if "the last word" in self.commands[-1]:
                    return


def _keys_that_hold(client: redis.Redis, text: str) -> list[str]:
    """The keys of every value that holds the text, whatever its type."""
    return sorted(key for key in client.scan_iter() if text.encode() in _dump(client, key))


def _dump(client: redis.Redis, key: str) -> bytes:
    readers = {
        "string": lambda: client.get(key),
        "hash": lambda: client.hgetall(key),
        "list": lambda: client.lrange(key, 0, -1),
        "set": lambda: client.smembers(key),
        "zset": lambda: client.zrange(key, 0, -1),
        "stream": lambda: client.xrange(key),
        "none": lambda: "",  # gone since the scan
    }
    return repr(readers[client.type(key)]()).encode()
