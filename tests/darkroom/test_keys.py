"""API keys at rest and in use."""

from __future__ import annotations

import asyncio
import re

import pytest
import redis

from darkroom import keys
from darkroom.errors import ConfigurationError
from darkroom.keys import DEFAULT_SCOPES, ApiKey, AsyncKeyStore, KeyStore, Scope
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings


@pytest.fixture
def store(redis_client: redis.Redis) -> KeyStore:
    return KeyStore(redis_client)


def _at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(keys, "unix_time", lambda: seconds)


def test_new_key_opens_as_its_owner(store: KeyStore) -> None:
    new = store.create("ada", "laptop")

    key = store.verify(new.token)

    assert key is not None
    assert (key.id, key.owner, key.name, key.scopes) == (new.key.id, "ada", "laptop", DEFAULT_SCOPES)


def test_keys_of_one_person_are_one_actor(store: KeyStore) -> None:
    keys_of_ann = [
        store.create("reviews", "desk", [Scope.REVIEW], person="Ann"),
        store.create("ada", "", person="ann "),
    ]
    nobodys = [store.create("reviews", "first"), store.create("reviews", "second")]

    assert {store.verify(new.token).actor for new in keys_of_ann} == {"ann"}  # type: ignore[union-attr]
    assert {new.key.actor for new in nobodys} == {"owner:reviews"}


@pytest.mark.parametrize("name", ["", " ", "owner:ann", "ann\nben", "a" * 65])
def test_a_person_has_a_name(store: KeyStore, name: str) -> None:
    with pytest.raises(ConfigurationError, match="person"):
        store.create("reviews", "desk", person=name)


def test_no_owner_is_named_like_shadow_runs(store: KeyStore) -> None:
    with pytest.raises(ConfigurationError, match="@"):
        store.create("@shadow", "desk")


def test_token_is_dk_id_secret_and_the_secret_is_nowhere_at_rest(store: KeyStore, redis_client: redis.Redis) -> None:
    new = store.create("ada", "laptop")

    match = re.fullmatch(r"dk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", new.token)
    assert match
    record = redis_client.hgetall(f"darkroom:key:{new.key.id}")
    assert match[2] not in str(record)
    assert match[2] not in repr(new)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: "dk_000000000000" + token[15:],
        lambda token: token + "A",
        lambda token: token.upper(),
        lambda _token: "",
        lambda _token: "dk_",
        lambda _token: "dk_*_*",
        lambda token: " " + token,
        lambda token: token + "\n",
        lambda _token: "dk_0123456789ab_" + "é" * 43,
        lambda _token: "\ud800",
    ],
)
def test_any_other_token_is_refused(store: KeyStore, spoil: object) -> None:
    token = store.create("ada", "laptop").token

    assert store.verify(spoil(token)) is None


def test_revoked_key_is_refused_at_once(store: KeyStore) -> None:
    new = store.create("ada", "laptop")

    assert store.revoke(new.key.id)

    assert store.verify(new.token) is None
    assert not store.revoke(new.key.id)
    assert store.list() == []


def test_rotated_key_has_two_secrets_for_a_while(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _at(monkeypatch, 1_000.0)
    old = store.create("ada", "laptop", scopes=["read"], expires_at=9_000.0)

    new = store.rotate(old.key.id, overlap_seconds=100)

    assert new is not None
    assert new.token != old.token
    assert new.key == old.key
    _at(monkeypatch, 1_099.9)
    assert all(store.verify(token) is not None for token in (old.token, new.token))
    _at(monkeypatch, 1_100.0)
    assert store.verify(old.token) is None
    assert store.verify(new.token) is not None
    assert len(store.list()) == 1


def test_second_rotation_ends_the_oldest_secret(store: KeyStore, redis_client: redis.Redis) -> None:
    tokens = [store.create("ada", "laptop").token]
    key_id = store.list()[0].id
    for _ in range(2):
        new = store.rotate(key_id, overlap_seconds=100)
        assert new is not None
        tokens.append(new.token)

    assert [store.verify(token) is not None for token in tokens] == [False, True, True]
    record = str(redis_client.hgetall(f"darkroom:key:{key_id}"))
    assert not any(token[16:] in record for token in tokens)
    store.revoke(key_id)
    assert [store.verify(token) for token in tokens] == [None, None, None]


def test_unknown_key_is_not_rotated(store: KeyStore, redis_client: redis.Redis) -> None:
    assert store.rotate("0" * 12, overlap_seconds=1) is None
    assert redis_client.keys("*") == []


def test_key_ends_at_its_expiry(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    new = store.create("ada", "visit", expires_at=2_000.0)

    _at(monkeypatch, 1_999.9)
    assert store.verify(new.token) is not None
    _at(monkeypatch, 2_000.0)
    assert store.verify(new.token) is None


def test_last_use_is_noted_at_most_once_a_minute(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    new = store.create("ada", "laptop")

    noted = []
    for seconds in (1_000.0, 1_030.0, 1_059.0, 1_060.0, 1_100.0):
        _at(monkeypatch, seconds)
        store.verify(new.token)
        noted.append(store.list()[0].last_used_at)

    assert noted == [1_000.0, 1_000.0, 1_000.0, 1_060.0, 1_060.0]


def test_wrong_secret_is_no_use(store: KeyStore) -> None:
    new = store.create("ada", "laptop")

    store.verify(new.token[:-2] + "--")

    assert store.list()[0].last_used_at is None


def test_noting_a_use_does_not_bring_a_revoked_key_back(store: KeyStore, redis_client: redis.Redis) -> None:
    new = store.create("ada", "laptop")
    store.revoke(new.key.id)

    redis_client.eval(*keys._touch(new.key, 1.0))

    assert not redis_client.exists(f"darkroom:key:{new.key.id}")


def test_list_is_oldest_first_and_by_owner(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, owner in ((3.0, "ada"), (1.0, "ben"), (2.0, "ada")):
        _at(monkeypatch, seconds)
        store.create(owner, f"at {seconds}")

    assert [key.name for key in store.list()] == ["at 1.0", "at 2.0", "at 3.0"]
    assert [key.name for key in store.list("ada")] == ["at 2.0", "at 3.0"]


def test_scopes_are_kept_and_unknown_ones_refused(store: KeyStore) -> None:
    new = store.create("ada", "reader", scopes=["read"])

    assert new.key.scopes == {Scope.READ}
    assert store.list()[0].scopes == {Scope.READ}
    with pytest.raises(ValueError, match="everything"):
        store.create("ada", "all", scopes=["everything"])


def test_event_loop_judges_the_same(store: KeyStore, redis_settings: RedisSettings) -> None:
    new = store.create("ada", "laptop")

    async def verify_both() -> tuple[ApiKey | None, ApiKey | None]:
        async with make_async_redis(redis_settings) as client:
            looped = AsyncKeyStore(client)
            answers = await looped.verify(new.token), await looped.verify(new.token[:-2] + "--")
            await client.connection_pool.disconnect()
            return answers

    good, bad = asyncio.run(verify_both())

    assert good is not None
    assert good.owner == "ada"
    assert bad is None
    assert store.list()[0].last_used_at is not None
