"""Which policy judges a prompt: the owner's own, or one that the request narrows it to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.services import Services
from darkroom.errors import ConfigurationError
from darkroom.keys import KeyStore
from darkroom.metrics import Metrics
from darkroom.owners import Owners, OwnerSettings
from darkroom.settings import OwnersSettings
from safety.pipeline import SafetyPipeline
from safety.policy import load_policy
from safety.policy_set import Policies
from safety.subjects import PromptSubject
from safety.verdict import Category, Finding, Stage
from tests.api.service import Caller, Places, make_services, serving

# A doubt of 0.4: below the default policy's review bar of 0.5, above the strict one's of 0.25.
POLICY = """
schema = 1
name = "{name}"
version = 1
shadow = {shadow}
[prompt.actions]
violence = "rewrite"
"""


class Scores:
    """Finds a score in every prompt, and in `zarn` that it is violent."""

    name = "scores"
    stage = Stage.PROMPT

    def __init__(self, score: float) -> None:
        self._score = score

    def run(self, subject: PromptSubject) -> Sequence[Finding]:
        words = [Finding(Category.violence, 1.0, self.name)] * subject.text.count("zarn")
        return [Finding(Category.custom, self._score, self.name), *words]


class WordList(Scores):
    """Stands where the shipped policies require the word lists."""

    name = "prompt_wordlist"


class Replacing:
    """Writes a tree where `zarn` was, and wants no zarn in the picture."""

    name = "replacing"

    def rewrite(self, subject: PromptSubject, findings: Sequence[Finding]) -> PromptSubject:
        assert findings
        return replace(subject, prompt=subject.prompt.replace("zarn", "tree"), negative_prompt="zoom")


def scored(services: Services, score: float, *, owners: Owners | None = None, own: Path | None = None) -> Services:
    safety = SafetyPipeline(policy=load_policy(), prompt_checks=[WordList(score)], rewriters=[Replacing()])
    return replace(services, safety=safety, owners=owners or Owners(), policies=Policies(own))


def generate(places: Places, keys: KeyStore, services: Services, *, owner: str = "acme", **fields: Any) -> Any:
    with serving(services) as client:
        return Caller(client, keys, owner=owner).generate({"prompt": "a red circle", **fields})


def test_request_may_ask_for_a_stricter_policy(places: Places, keys: KeyStore) -> None:
    services = scored(make_services(places), 0.6)

    assert generate(places, keys, services).json()["status"] == "queued"
    narrowed = generate(places, keys, scored(make_services(places), 0.6), policy="strict")
    assert narrowed.json()["status"] == "blocked"
    assert narrowed.json()["error"]["code"] == "prompt_custom"


@pytest.mark.parametrize("wanted", ["research", "none-such"])
def test_request_may_not_ask_for_less(places: Places, keys: KeyStore, wanted: str) -> None:
    response = generate(places, keys, make_services(places), policy=wanted)

    assert response.status_code == 422
    (problem,) = response.json()["errors"]
    assert problem["field"] == "policy"
    assert "default" in problem["limit"]
    assert "research" not in problem["limit"]
    assert wanted not in response.text.replace(problem["limit"], "").replace(str(problem["nearest"]), "")


def test_owners_policy_judges_and_bounds(places: Places, keys: KeyStore) -> None:
    owners = Owners({"school": OwnerSettings(policy="strict")})

    ours = generate(places, keys, scored(make_services(places), 0.6, owners=owners), owner="school")
    assert ours.json()["status"] == "blocked"
    assert generate(places, keys, scored(make_services(places), 0.6, owners=owners)).json()["status"] == "queued"
    wider = generate(places, keys, scored(make_services(places), 0.6, owners=owners), owner="school", policy="default")
    assert wider.status_code == 422


def test_rewritten_prompt_is_used_and_both_texts_are_kept(places: Places, keys: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "mild.toml").write_text(POLICY.format(name="mild", shadow=[]), encoding="utf-8")
    owners = Owners({"acme": OwnerSettings(policy="mild")})
    services = scored(make_services(places), 0.1, owners=owners, own=tmp_path)

    with serving(services) as client:
        caller = Caller(client, keys, owner="acme")
        body = caller.generate({"prompt": "a zarn by the sea"}).json()
        job = caller.get(f"/jobs/{body['id']}").json()
        plain = caller.generate().json()

    assert (body["status"], body["rewritten"], plain["rewritten"]) == ("queued", True, False)
    for shown in (body, job):
        assert shown["params"]["prompt"] == "a tree by the sea"
        assert shown["params"]["negative_prompt"] == "zoom"
        assert shown["rewritten"] is True
        assert "zarn" not in str(shown)


def test_check_in_shadow_is_counted_and_stops_nothing(places: Places, keys: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "watching.toml").write_text(POLICY.format(name="watching", shadow=["scores"]), encoding="utf-8")
    safety = SafetyPipeline(policy=load_policy(), prompt_checks=[Scores(1.0)])
    services = replace(
        make_services(places),
        safety=safety,
        policies=Policies(tmp_path),
        owners=Owners({"acme": OwnerSettings(policy="watching")}),
        metrics=Metrics(),
    )

    assert generate(places, keys, services).json()["status"] == "queued"
    labels = {"stage": "prompt", "decision": "block"}
    assert services.metrics.registry.get_sample_value("darkroom_shadow_verdicts_total", labels) == 1


def test_owners_policy_that_is_not_there_keeps_the_service_from_starting(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "owners.toml"
    path.write_text('[school]\npolicy = "none-such"\n', encoding="utf-8")
    monkeypatch.setattr("tests.api.service.OwnersSettings", lambda: OwnersSettings(owners_file=path))

    with pytest.raises(ConfigurationError, match="there is no policy named 'none-such'"):
        make_services(places)
