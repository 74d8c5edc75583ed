"""What a worker says of itself to operators."""

from __future__ import annotations

import redis

from darkroom.jobs import Tier
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from darkroom.worker_registry import WorkerRegistry
from engine import Engine
from tests.fixtures.ports import free_port
from worker.drain import Drain
from worker.hands import Hands
from worker.presence import SECONDS, Presence


def make_presence(client: redis.Redis, engine: Engine, hands: Hands, drain: Drain) -> Presence:
    return Presence(WorkerRegistry(client), engine, hands, drain, name="w1", tiers=lambda: (Tier.STANDARD,), places=16)


def test_a_round_tells_operators_what_the_process_has_in_hand(redis_client: redis.Redis, shared_engine: Engine) -> None:
    hands, drain = Hands(), Drain(grace_seconds=20, terminate=lambda: None)
    presence = make_presence(redis_client, shared_engine, hands, drain)

    with hands.job(alone=False):
        presence.round()
    drain.begin()

    (said,) = WorkerRegistry(redis_client).all()
    assert (said.name, said.tiers, said.jobs, said.places, said.draining) == ("w1", ("standard",), 1, 16, False)
    assert (said.device, said.models, said.max_rows) == ("cpu", ("tiny",), shared_engine.stats().max_rows)
    assert said.row_cap == min(shared_engine.stats().row_caps.values(), default=None)
    presence.round()
    (later,) = WorkerRegistry(redis_client).all()
    assert (later.jobs, later.draining) == (0, True)


def test_a_store_that_is_away_ends_no_thread(shared_engine: Engine) -> None:
    with make_redis(RedisSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0")) as client:
        presence = make_presence(client, shared_engine, Hands(), Drain(grace_seconds=20, terminate=lambda: None))
        assert presence.round() == SECONDS
