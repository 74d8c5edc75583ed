"""`GET /jobs/{id}/events` and what is behind it: order, replay, pings, many listeners, slow ones, an outage."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Message

from api.event_hub import WAITING_EVENTS, EventHub, Listener
from api.event_stream import EventStream, encode, follow
from darkroom.async_job_store import AsyncJobStore
from darkroom.errors import JobStoreUnavailable
from darkroom.events import EventLog, JobEvent
from darkroom.job_ids import new_job_id
from darkroom.jobs import Job, JobStatus
from darkroom.keys import KeyStore, Scope
from darkroom.redis_client import make_async_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.api.service import Caller, LiveApi, Places, Worker, live_process
from tests.darkroom.factories import make_job
from tests.fixtures.processes import eventually
from tests.fixtures.secret_file import SEALER


@dataclass(frozen=True)
class Sent:
    """One server-sent event as a caller reads it."""

    id: str
    name: str
    data: dict[str, Any]


def read(text: str) -> list[Sent]:
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith((":", "retry")))
        if fields:
            events.append(Sent(fields["id"], fields["event"], json.loads(fields["data"])))
    return events


def test_ended_job_tells_its_whole_story_and_ends(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    worker.succeed(job_id)

    response = caller.get(f"/jobs/{job_id}/events")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    events = read(response.text)
    assert [event.name for event in events] == ["queued", "started", "succeeded"]
    assert events[-1].data["job"] == job_id
    assert events[-1].data["status"] == "succeeded"
    assert response.text.startswith("retry: ")


def test_replay_goes_on_after_the_last_event_that_was_seen(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    worker.succeed(job_id)
    events = read(caller.get(f"/jobs/{job_id}/events").text)

    again = caller.get(f"/jobs/{job_id}/events", Last_Event_ID=events[0].id)

    assert read(again.text) == events[1:]


def test_who_saw_the_end_is_told_not_to_come_back(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    worker.succeed(job_id)
    last = read(caller.get(f"/jobs/{job_id}/events").text)[-1]

    response = caller.get(f"/jobs/{job_id}/events", Last_Event_ID=last.id)

    assert (response.status_code, response.text) == (204, "")


def test_id_that_is_none_of_ours_means_from_the_beginning(caller: Caller) -> None:
    job_id = caller.submit()
    caller.post(f"/jobs/{job_id}/cancel")

    response = caller.get(f"/jobs/{job_id}/events", Last_Event_ID="yesterday")

    assert [event.name for event in read(response.text)] == ["queued", "cancelled"]


def test_refused_prompt_is_one_event_with_its_reason(caller: Caller) -> None:
    job_id = caller.submit(prompt="forbidden-test-token")

    events = read(caller.get(f"/jobs/{job_id}/events").text)

    assert [event.name for event in events] == ["blocked"]
    assert events[0].data["code"]
    assert "forbidden-test-token" not in str(events)


def test_others_jobs_are_not_found(caller: Caller, make_caller: Callable[..., Caller]) -> None:
    job_id = caller.submit()

    assert make_caller().get(f"/jobs/{job_id}/events").status_code == 404
    assert caller.get(f"/jobs/{new_job_id()}/events").status_code == 404


def test_following_needs_the_scope_to_read(make_caller: Callable[..., Caller]) -> None:
    caller = make_caller(scopes=[Scope.GENERATE])

    assert caller.get(f"/jobs/{caller.submit()}/events").status_code == 403


def test_fifty_listeners_hear_the_same_by_one_reader(live_api: LiveApi, keys: KeyStore, worker: Worker) -> None:
    with httpx2.Client(base_url=live_api.url, trust_env=False) as client:
        caller = Caller(client, keys)
        job_id = caller.submit()
        heard: list[list[Sent]] = []
        with listening(50, lambda: heard.append(read(caller_text(live_api, caller, job_id)))):
            worker.succeed(job_id)

    assert len(heard) == 50
    assert {tuple(event.name for event in events) for events in heard} == {("queued", "started", "succeeded")}


@pytest.mark.slow
def test_owner_has_so_many_listeners_who_go_when_the_process_ends(
    places: Places, keys: KeyStore, tmp_path: Path
) -> None:
    heard: list[list[str]] = []
    waited: list[str] = []
    log = tmp_path / "api.log"
    with live_process(places, log=log, DARKROOM_MAX_LISTENERS="3") as live, one_client(live.url) as http:
        caller, other = Caller(http, keys), Caller(http, keys)
        job_id, others = caller.submit(), other.submit()
        url = f"{live.url}/jobs/{job_id}"

        def wait() -> None:
            headers = caller.headers(Prefer="wait=50")
            waited.append(httpx2.get(url, headers=headers, trust_env=False, timeout=60).json()["status"])

        def follow_it() -> None:
            heard.append([event.name for event in read(caller_text(live, caller, job_id))])

        with listening(1, wait), listening(2, follow_it):
            refused = eventually(lambda: over_the_cap(http, f"/jobs/{job_id}/events", caller), seconds=10)
            at_once = caller.get(f"/jobs/{job_id}", Prefer="wait=50")
            with http.stream("GET", f"/jobs/{others}/events", headers=other.headers()) as stream:
                allowed = stream.status_code
            began = time.monotonic()
            os.kill(live.pid, signal.SIGTERM)
        took = time.monotonic() - began

    assert refused == (429, "5")
    assert (at_once.status_code, at_once.headers.get("Preference-Applied")) == (200, None)
    assert allowed == 200
    assert heard == [["queued"]] * 2
    assert waited == ["queued"]
    assert took < 8  # uvicorn alone would cut them off after ten seconds


def one_client(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, trust_env=False, timeout=60)


def over_the_cap(http: httpx2.Client, path: str, caller: Caller) -> tuple[int, str] | None:
    """The refusal of one listener more, or None where there was still room."""
    with http.stream("GET", path, headers=caller.headers()) as answer:
        return None if answer.status_code == 200 else (answer.status_code, answer.headers["Retry-After"])


def caller_text(live_api: LiveApi, caller: Caller, job_id: str) -> str:
    url = f"{live_api.url}/jobs/{job_id}/events"
    response = httpx2.get(url, headers=caller.headers(), trust_env=False, timeout=60)
    assert response.status_code == 200, response.text
    return response.text


@contextmanager
def listening(count: int, listen: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=listen) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)


class WatchedFeed(EventLog):
    """A feed that counts its readers and may be away for a while."""

    away = False
    readers = most_readers = 0

    async def feed_end(self) -> str:
        if self.away:
            raise JobStoreUnavailable
        return await super().feed_end()

    async def news(self, after: str) -> tuple[str, list[JobEvent]]:
        if self.away:
            raise JobStoreUnavailable
        self.readers += 1
        self.most_readers = max(self.most_readers, self.readers)
        try:
            return await super().news(after)
        finally:
            self.readers -= 1


class Desk:
    """A store and a hub on one event loop."""

    def __init__(self, url: str) -> None:
        self.redis = make_async_redis(RedisSettings(redis_url=url, redis_timeout_seconds=1.0))
        self.jobs = AsyncJobStore(self.redis, JobSettings(), SEALER)
        self.feed = WatchedFeed(self.redis, block_seconds=0.05)
        self.hub = EventHub(self.feed)

    async def submit(self) -> Job:
        return (await self.jobs.submit(make_job())).job

    async def cancel(self, job: Job) -> None:
        await self.jobs.cancel(job.id, owner=job.owner)

    def follow(self, job: Job, *, ping_seconds: float = 15.0) -> AsyncGenerator[JobEvent | None]:
        def read_job() -> Awaitable[Job]:
            return self.jobs.get(job.id, owner=job.owner)

        return follow(read_job, self.hub, job.id, owner=job.owner, after="0-0", ping_seconds=ping_seconds)

    async def names(self, job: Job, *, ping_seconds: float = 15.0) -> list[str]:
        return [event.name if event else "ping" async for event in self.follow(job, ping_seconds=ping_seconds)]


Scene = Callable[[Desk], Awaitable[Any]]


@pytest.fixture
def play(places: Places) -> Callable[[Scene], Any]:
    def play(scene: Scene) -> Any:
        async def main() -> Any:
            async with desk(places.redis_url) as here, asyncio.timeout(30):
                return await scene(here)

        return asyncio.run(main())

    return play


@asynccontextmanager
async def desk(url: str) -> AsyncIterator[Desk]:
    here = Desk(url)
    try:
        yield here
    finally:
        await here.hub.close()
        await here.redis.connection_pool.disconnect()


def test_many_listeners_cost_one_reader_and_leave_nothing_behind(play: Callable[[Scene], Any]) -> None:
    async def scene(here: Desk) -> tuple[list[list[str]], int, int]:
        job = await here.submit()
        followers = [asyncio.create_task(here.names(job)) for _ in range(50)]
        await until(lambda: here.hub.listening == 50)
        await asyncio.sleep(0.2)
        await here.cancel(job)
        return await asyncio.gather(*followers), here.feed.most_readers, here.hub.listening

    told, readers, left = play(scene)

    assert told == [["queued", "cancelled"]] * 50
    assert readers == 1
    assert left == 0


def test_silence_is_filled_with_pings(play: Callable[[Scene], Any]) -> None:
    async def scene(here: Desk) -> list[str]:
        job = await here.submit()
        told: list[str] = []
        async for event in here.follow(job, ping_seconds=0.1):
            told.append(event.name if event else "ping")
            if told.count("ping") == 2:
                await here.cancel(job)
        return told

    told = play(scene)

    assert told[:3] == ["queued", "ping", "ping"]
    assert told[-1] == "cancelled"


def test_event_that_the_feed_lost_is_found_at_the_next_ping(play: Callable[[Scene], Any]) -> None:
    async def scene(here: Desk) -> list[str]:
        job = await here.submit()
        follower = asyncio.create_task(here.names(job, ping_seconds=0.2))
        await until(lambda: here.hub.listening == 1)
        await here.hub.close()
        await here.cancel(job)
        return await follower

    assert play(scene)[-1] == "cancelled"


def test_stream_of_a_deleted_job_ends(play: Callable[[Scene], Any]) -> None:
    async def scene(here: Desk) -> list[str]:
        job = await here.submit()
        follower = asyncio.create_task(here.names(job, ping_seconds=0.1))
        await until(lambda: here.hub.listening == 1)
        await here.redis.delete(f"darkroom:job:{job.id}")
        return await follower

    assert play(scene)[0] == "queued"


def test_listeners_keep_their_place_through_an_outage(play: Callable[[Scene], Any]) -> None:
    async def scene(here: Desk) -> list[str]:
        job = await here.submit()
        follower = asyncio.create_task(here.names(job))
        await until(lambda: here.hub.listening == 1)
        here.feed.away = True
        await asyncio.sleep(0.2)
        await here.cancel(job)
        here.feed.away = False
        return await follower

    assert play(scene) == ["queued", "cancelled"]


def test_listener_that_is_behind_reads_the_job_instead() -> None:
    async def scene() -> list[JobEvent] | None:
        listener = Listener()
        for number in range(WAITING_EVENTS + 1):
            listener.tell(make_event(number))
        return await listener.wait(1)

    assert asyncio.run(scene()) is None


def test_caller_that_takes_nothing_is_cut_off(play: Callable[[Scene], Any]) -> None:
    async def scene(here: Desk) -> int:
        job = await here.submit()

        async def send(message: Message) -> None:
            if message.get("body"):
                await asyncio.Event().wait()

        stream = EventStream(here.follow(job), send_seconds=0.1)
        await stream({"type": "http"}, never, send)
        return here.hub.listening

    assert play(scene) == 0


def test_caller_that_leaves_frees_everything(play: Callable[[Scene], Any]) -> None:
    async def scene(here: Desk) -> int:
        job = await here.submit()
        gone = asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_message: Message) -> None:
            return

        answer = asyncio.create_task(EventStream(here.follow(job))({"type": "http"}, receive, send))
        await until(lambda: here.hub.listening == 1)
        gone.set()
        await answer
        return here.hub.listening

    assert play(scene) == 0


def test_encoded_event_is_one_block() -> None:
    text = encode(make_event(7)).decode()

    assert text.startswith("id: 1-7\nevent: progress\ndata: {")
    assert text.endswith("}\n\n")
    assert read(text)[0].data == {
        "job": "job_1", "status": "running", "time": "1970-01-01T00:00:00.000Z", "attempt": 1, "step": 7, "steps": 25
    }  # fmt: skip


def make_event(step: int) -> JobEvent:
    return JobEvent(f"1-{step}", "job_1", "progress", JobStatus.RUNNING, 0.0, attempt=1, step=step, steps=25)


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 -- it watches plain state
        await asyncio.sleep(0.01)
