"""`darkroom policies` and `darkroom keys held`, straight on the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from cli.main import app
from darkroom.audit import AuditLog
from darkroom.errors import ConfigurationError
from darkroom.keys import KeyStore, Scope
from darkroom.near_misses import NearMisses
from darkroom.policy_approvals import PolicyApprovals
from darkroom.settings import RedisSettings, SafetySettings
from safety.policy_set import Policies

POLICY = 'schema = 1\nname = "house"\nversion = 1\n'


@pytest.fixture
def client(redis_settings: RedisSettings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> redis.Redis:
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_settings.redis_url)
    return redis_client


@pytest.fixture
def house(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "house.toml").write_text(POLICY, encoding="utf-8")
    return folder / "house.toml"


def run(*words: str, data: Path) -> Any:
    return CliRunner().invoke(app, [*words, "--data", str(data)])


def token(client: redis.Redis, person: str | None, *scopes: Scope) -> str:
    return KeyStore(client).create("ops", "test", scopes or [Scope.ADMIN], person=person).token


def test_file_counts_once_a_second_person_approves_it(client: redis.Redis, house: Path, tmp_path: Path) -> None:
    ada, bob = token(client, "ada"), token(client, "bob")
    policies = Policies(house.parent, is_approved=PolicyApprovals(client).is_approved, look_seconds=0)

    assert run("policies", "propose", str(house), "--key", ada, data=tmp_path).exit_code == 0
    assert "house" not in policies.now()
    assert run("policies", "approve", str(house), "--key", bob, data=tmp_path).exit_code == 0

    assert policies.of("house").label == "house@1"
    deeds = [(entry.actor, entry.action) for entry in AuditLog(client).unsealed(limit=10)]
    assert deeds == [("ada", "policy.proposed"), ("bob", "policy.approved")]


def test_two_keys_of_one_person_are_one_person(client: redis.Redis, house: Path, tmp_path: Path) -> None:
    first, second = token(client, "ada"), token(client, "ada")
    run("policies", "propose", str(house), "--key", first, data=tmp_path)

    result = run("policies", "approve", str(house), "--key", second, data=tmp_path)

    assert isinstance(result.exception, ConfigurationError)
    assert "somebody else has to approve it" in result.exception.detail


def test_changed_file_needs_a_new_approval(client: redis.Redis, house: Path, tmp_path: Path) -> None:
    ada, bob = token(client, "ada"), token(client, "bob")
    run("policies", "propose", str(house), "--key", ada, data=tmp_path)
    house.write_text(f'{POLICY}description = "changed"\n', encoding="utf-8")

    result = run("policies", "approve", str(house), "--key", bob, data=tmp_path)

    assert isinstance(result.exception, ConfigurationError)
    assert "nobody has proposed" in result.exception.detail


@pytest.mark.parametrize(("person", "scope"), [(None, Scope.ADMIN), ("ada", Scope.REVIEW)])
def test_proposer_is_a_named_person_with_the_scope(
    client: redis.Redis, house: Path, tmp_path: Path, person: str | None, scope: Scope
) -> None:
    result = run("policies", "propose", str(house), "--key", token(client, person, scope), data=tmp_path)

    assert isinstance(result.exception, ConfigurationError)
    assert PolicyApprovals(client).all() == {}


def test_policies_are_listed_and_checked(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_POLICY_DIR", str(house.parent))
    monkeypatch.setenv("COLUMNS", "200")

    listed = run("policies", "list", data=tmp_path).output

    assert all(label in listed for label in ("default@", "strict@1", "research@1", "house@1"))
    assert CliRunner().invoke(app, ["policies", "check", str(house)]).output.startswith("house@1 ")
    house.write_text("schema = 2", encoding="utf-8")
    assert isinstance(CliRunner().invoke(app, ["policies", "check", str(house)]).exception, ConfigurationError)


def test_held_key_is_listed_and_released(client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    key = KeyStore(client).create("acme", "test").key.id
    NearMisses(client, SafetySettings(near_miss_hold=1)).note(key, 1)

    listed = run("keys", "held", data=tmp_path).output
    released = run("keys", "release", key, "--person", "Ann", data=tmp_path)

    assert key in listed
    assert "acme" in listed
    assert released.exit_code == 0
    assert run("keys", "release", key, "--person", "Ann", data=tmp_path).exit_code == 1
    entries = [(entry.actor, entry.action, entry.subject) for entry in AuditLog(client).unsealed(limit=10)]
    assert entries == [("ann", "key.released", key)], "once, for the one time that a key was let go"
