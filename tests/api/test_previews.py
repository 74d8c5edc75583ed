"""Previews over HTTP: told once to who listens, without a place in the story, and only where owner and policy allow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from darkroom.jobs import JobStatus
from darkroom.keys import KeyStore
from darkroom.owners import Owners, OwnerSettings
from darkroom.previews import Preview
from safety.policy import load_policy
from safety.policy_set import Policies
from tests.api.service import Caller, LiveApi, Places, Worker, make_services, serving
from tests.fixtures.processes import eventually

OFF = "previews are off for you; preview_every has no effect"
POLICY = """
schema = 1
name = "open"
version = 1
[prompt]
required_checks = ["prompt_wordlist"]
[image]
previews = true
"""


@contextmanager
def follower(api: LiveApi, caller: Caller, job_id: str) -> Iterator[list[dict[str, str]]]:
    """The events that somebody hears who follows the job, each as the fields that were sent."""
    heard: list[dict[str, str]] = []

    def follow() -> None:
        url = f"{api.url}/jobs/{job_id}/events"
        with httpx2.stream("GET", url, headers=caller.headers(), trust_env=False, timeout=30) as response:
            event: dict[str, str] = {}
            for line in response.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    heard.append(event)
                    event = {}

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    yield heard
    thread.join(30)


def names(heard: list[dict[str, str]]) -> list[str]:
    return [event["event"] for event in heard if "event" in event]


def test_a_preview_reaches_who_listens_and_has_no_place_in_the_story(
    live_api: LiveApi, keys: KeyStore, worker: Worker
) -> None:
    with httpx2.Client(base_url=live_api.url, trust_env=False) as client:
        caller, stranger = Caller(client, keys), Caller(client, keys)
        claim = worker.claim(job_id := caller.submit())
        other = stranger.submit()
        preview = Preview(job_id, claim.attempt, image=1, step=10, content_type="image/jpeg", data="AAAA")
        with follower(live_api, stranger, other) as strangers:
            with follower(live_api, caller, job_id) as heard:
                eventually(lambda: "started" in names(heard))
                eventually(lambda: worker.jobs.preview(claim, preview) and "preview" in names(heard))
                worker.jobs.cancel(job_id, owner=caller.owner)
                worker.jobs.commit(claim, status=JobStatus.CANCELLED, images=[], error=None)
            worker.jobs.cancel(other, owner=stranger.owner)
        again = caller.get(f"/jobs/{job_id}/events").text

    shown = next(event for event in heard if event.get("event") == "preview")
    assert json.loads(shown["data"]) == json.loads(preview.as_message())
    assert "id" not in shown
    assert names(heard)[-1] == "cancelled"
    assert "preview" not in names(strangers)
    assert "preview" not in again


@pytest.fixture
def open_policies(tmp_path: Path) -> Policies:
    (tmp_path / "open.toml").write_text(POLICY, encoding="utf-8")
    return Policies(tmp_path)


@contextmanager
def calling(places: Places, keys: KeyStore, policies: Policies, terms: OwnerSettings) -> Iterator[Caller]:
    services = replace(make_services(places), owners=Owners(default=terms), policies=policies)
    client: TestClient
    with serving(services) as client:
        yield Caller(client, keys)


@pytest.mark.parametrize(
    ("terms", "every", "warnings"),
    [
        (OwnerSettings(policy="open"), 5, []),
        (OwnerSettings(policy="open", previews=False), 0, [OFF]),
        (OwnerSettings(), 0, [OFF]),
    ],
    ids=["allowed", "switched off for the owner", "not allowed by the policy"],
)
def test_previews_are_made_where_policy_and_operator_allow_them(
    terms: OwnerSettings, every: int, warnings: list[str], places: Places, keys: KeyStore, open_policies: Policies
) -> None:
    with calling(places, keys, open_policies, terms) as caller:
        job = caller.generate({"prompt": "a boat", "preview_every": 5}).json()

    assert (job["params"]["preview_every"], job["warnings"]) == (every, warnings)


def test_no_shipped_policy_allows_previews() -> None:
    assert not any(load_policy(name).image.previews for name in ("default", "strict", "research"))
