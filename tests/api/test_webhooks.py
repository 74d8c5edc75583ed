"""Webhook endpoints by the API: whose they are, what is refused, and when a secret is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from darkroom.keys import Scope
from darkroom.outbox import Outbox
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings
from tests.api.service import Caller, Places
from tests.fixtures.forbidden import FORBIDDEN_URLS

URL = "https://hooks.example.com/darkroom?token=planted-token"


def call(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    return caller.client.request(method, f"/webhooks{path}", json=body, headers=caller.headers())


def make(caller: Caller, **fields: Any) -> dict[str, Any]:
    answer = call(caller, "POST", "", {"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def bury(places: Places, owner: str) -> str:
    """Give the first due delivery up; its id."""

    async def story() -> str:
        client = make_async_redis(RedisSettings(redis_url=places.redis_url))
        outbox = Outbox(client)
        claimed = await outbox.claim(1_000, lease_seconds=60)
        own = next(delivery for delivery in claimed if delivery.owner == owner)
        await outbox.bury(own, reason="status_500")
        await client.connection_pool.disconnect()
        return own.id

    return asyncio.run(story())


def deliver(places: Places, owner: str) -> list[str]:
    """Have the owner's due events arrive; their ids."""

    async def story() -> list[str]:
        client = make_async_redis(RedisSettings(redis_url=places.redis_url))
        outbox = Outbox(client)
        own = [one for one in await outbox.claim(1_000, lease_seconds=60) if one.owner == owner]
        for delivery in own:
            await outbox.delivered(delivery)
        await client.connection_pool.disconnect()
        return [delivery.event for delivery in own]

    return asyncio.run(story())


def test_secret_is_shown_once(caller: Caller) -> None:
    made = make(caller, events=["job.succeeded"], description="shop")

    listed = call(caller, "GET", "").json()["endpoints"]
    read = call(caller, "GET", f"/{made['id']}").json()

    assert made["secret"].startswith("whsec_")
    assert [made["secret"] in str(answer) for answer in (listed, read)] == [False, False]
    assert read == listed[0] == {name: value for name, value in made.items() if name != "secret"}
    assert (read["url"], read["events"], read["description"], read["enabled"]) == (URL, ["job.succeeded"], "shop", True)


def test_endpoint_is_changed_field_by_field(caller: Caller) -> None:
    made = make(caller)

    off = call(caller, "PATCH", f"/{made['id']}", {"enabled": False}).json()
    on = call(caller, "PATCH", f"/{made['id']}", {"enabled": True, "events": ["job.failed"]}).json()

    assert (off["enabled"], off["disabled_because"], off["url"]) == (False, "owner", URL)
    assert (on["enabled"], on["disabled_because"], on["events"]) == (True, None, ["job.failed"])


def test_rotation_shows_a_new_secret(caller: Caller) -> None:
    made = make(caller)

    rotated = call(caller, "POST", f"/{made['id']}/rotate", {"overlap_seconds": 60}).json()

    assert rotated["secret"] != made["secret"]
    assert call(caller, "POST", f"/{made['id']}/rotate").status_code == 200  # a day's overlap


def test_owners_own_secret_is_replaced_at_will(caller: Caller) -> None:
    secrets = {call(caller, "POST", "/secret").json()["secret"] for _ in range(2)}

    assert len(secrets) == 2


def test_deleted_endpoint_is_gone(caller: Caller) -> None:
    made = make(caller)

    assert call(caller, "DELETE", f"/{made['id']}").status_code == 204
    assert call(caller, "GET", f"/{made['id']}").status_code == 404
    assert call(caller, "DELETE", f"/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
        ("POST", "/test", None),
        ("GET", "/attempts", None),
    ],
)
def test_somebody_elses_endpoint_is_not_there(
    make_caller: Callable[..., Caller], method: str, tail: str, body: Any
) -> None:
    mine, theirs = make_caller(), make_caller()
    made = make(mine)

    answer = call(theirs, method, f"/{made['id']}{tail}", body)

    assert (answer.status_code, answer.json()["code"]) == (404, "endpoint_not_found")
    assert call(mine, "GET", f"/{made['id']}").json()["enabled"]


def test_reading_needs_read_and_writing_needs_generate(make_caller: Callable[..., Caller]) -> None:
    reader, writer = make_caller([Scope.READ]), make_caller([Scope.GENERATE])

    assert call(reader, "GET", "").status_code == 200
    assert call(reader, "POST", "", {"url": URL}).status_code == 403
    assert call(writer, "POST", "", {"url": URL}).status_code == 201
    assert call(writer, "GET", "").status_code == 403


@pytest.mark.parametrize("url", [url for url in FORBIDDEN_URLS if url])
def test_url_that_may_not_be_called_is_refused_without_being_repeated(caller: Caller, url: str) -> None:
    answer = call(caller, "POST", "", {"url": url})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["url"]
    assert len(url) < 12 or url not in answer.text


def test_event_that_does_not_exist_is_answered_with_those_that_do(caller: Caller) -> None:
    answer = call(caller, "POST", "", {"url": URL, "events": ["job.done"]})

    assert answer.status_code == 422
    assert "job.succeeded" in answer.json()["errors"][0]["limit"]


def test_jobs_events_reach_the_endpoint_and_can_be_replayed(caller: Caller, places: Places) -> None:
    made = make(caller)
    job = caller.generate({"prompt": "forbidden-test-token"}).json()
    assert job["status"] == "blocked"

    buried = bury(places, caller.owner)
    [kept] = call(caller, "GET", "/undelivered").json()["undelivered"]
    replayed = call(caller, "POST", "/undelivered/replay", {"ids": [buried]})

    assert (kept["job_id"], kept["type"], kept["endpoint_id"]) == (job["id"], "job.blocked", made["id"])
    assert (kept["reason"], kept["attempts"]) == ("status_500", 1)
    assert replayed.json() == {"replayed": 1}
    assert call(caller, "POST", "/undelivered/replay", {"ids": [buried]}).status_code == 404
    assert call(caller, "POST", "/undelivered/replay").json() == {"replayed": 0}


def test_event_that_arrived_can_be_sent_again_to_its_endpoint(
    caller: Caller, make_caller: Callable[..., Caller], places: Places
) -> None:
    made = make(caller)
    caller.generate({"prompt": "forbidden-test-token"})
    [event] = deliver(places, caller.owner)

    assert call(make_caller(), "POST", f"/{made['id']}/replay", {"event_ids": [event]}).status_code == 404
    assert call(caller, "POST", f"/{made['id']}/replay", {"event_ids": [event]}).json() == {"replayed": 1}
    assert call(caller, "POST", f"/{made['id']}/replay", {"event_ids": [event]}).status_code == 404
    assert call(caller, "POST", f"/{made['id']}/replay", {"event_ids": []}).status_code == 422
    assert deliver(places, caller.owner) == [event]


def test_undelivered_events_of_others_are_neither_seen_nor_replayed(
    make_caller: Callable[..., Caller], places: Places
) -> None:
    mine, theirs = make_caller(), make_caller()
    make(mine)
    mine.generate({"prompt": "forbidden-test-token"})
    buried = bury(places, mine.owner)

    assert call(theirs, "GET", "/undelivered").json() == {"undelivered": []}
    assert call(theirs, "POST", "/undelivered/replay", {"ids": [buried]}).status_code == 404


def test_test_event_is_put_into_the_outbox(caller: Caller) -> None:
    made = make(caller)

    sent = call(caller, "POST", f"/{made['id']}/test")
    call(caller, "PATCH", f"/{made['id']}", {"enabled": False})

    assert sent.status_code == 202
    assert sent.json()["event_id"].startswith("evt_test_")
    assert call(caller, "POST", f"/{made['id']}/test").json()["code"] == "endpoint_disabled"


def test_there_are_no_attempts_before_the_first(caller: Caller) -> None:
    made = make(caller)

    assert call(caller, "GET", f"/{made['id']}/attempts").json() == {"attempts": []}
    assert call(caller, "GET", "/job/attempts").json() == {"attempts": []}
