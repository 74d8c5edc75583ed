"""A key whose prompts are refused again and again is slowed down, then held; broken checks blame nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from api.services import Services
from darkroom.keys import KeyStore
from darkroom.near_misses import AsyncNearMisses
from darkroom.settings import SafetySettings
from safety.pipeline import SafetyPipeline
from safety.policy import load_policy
from safety.subjects import PromptSubject
from safety.verdict import Finding, Stage
from tests.api.service import Caller, Places, make_services, serving

REFUSED = {"prompt": "a zzblockedterm"}


class Broken:
    """A check that can't give an answer."""

    name = "prompt_wordlist"
    stage = Stage.PROMPT

    def run(self, subject: PromptSubject) -> Sequence[Finding]:
        raise RuntimeError(f"can't read {subject.prompt}")


def counting(services: Services, *, slow: float = 0, hold: float = 0) -> Services:
    settings = SafetySettings(near_miss_slow=slow, near_miss_hold=hold)
    return replace(services, near_misses=AsyncNearMisses(services.looped_redis, settings))


def test_key_is_slowed_down_and_others_are_not(places: Places, keys: KeyStore) -> None:
    with serving(counting(make_services(places), slow=1)) as client:
        caller, other = Caller(client, keys), Caller(client, keys)
        assert caller.generate(REFUSED).status_code == 202

        slowed = caller.generate()

        assert (slowed.status_code, slowed.json()["code"]) == (429, "key_slowed")
        assert 1 <= int(slowed.headers["Retry-After"]) <= 10
        assert caller.get("/jobs").status_code == 200
        assert other.generate().status_code == 202


def test_key_is_held(places: Places, keys: KeyStore) -> None:
    with serving(counting(make_services(places), hold=1)) as client:
        caller = Caller(client, keys)
        caller.generate(REFUSED)

        held = caller.generate()

    assert (held.status_code, held.json()["code"]) == (403, "key_held")


@pytest.mark.parametrize("prompt", ["a red circle", "a zzreviewterm"])
def test_prompts_that_pass_or_wait_do_not_hold_a_key_at_once(places: Places, keys: KeyStore, prompt: str) -> None:
    with serving(counting(make_services(places), hold=1)) as client:
        caller = Caller(client, keys)
        caller.generate({"prompt": prompt})

        assert caller.generate().status_code == 202


def test_replayed_call_counts_once(places: Places, keys: KeyStore) -> None:
    with serving(counting(make_services(places), hold=2)) as client:
        caller = Caller(client, keys)
        for _ in range(3):
            assert caller.generate(REFUSED, Idempotency_Key="the-same").status_code == 202

        assert caller.generate().status_code == 202


def test_broken_check_blames_nobody(places: Places, keys: KeyStore) -> None:
    broken = SafetyPipeline(policy=load_policy(), prompt_checks=[Broken()])
    services = counting(make_services(places), slow=0.1, hold=0.1)
    with serving(replace(services, safety=broken)) as client:
        caller = Caller(client, keys)

        codes = {caller.generate().json()["code"] for _ in range(3)}

    assert codes == {"check_unavailable"}
