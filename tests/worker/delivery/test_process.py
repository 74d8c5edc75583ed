"""`python -m worker.delivery` as it runs in production: killed, restarted, stopped, and started wrongly."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from darkroom.outbox import Outbox
from darkroom.redis_client import make_async_redis
from darkroom.sealing import Sealer
from darkroom.settings import RedisSettings
from darkroom.webhooks import EndpointStore
from tests.fixtures.receiver import OK, Received, receiving, status
from tests.worker.delivery.post_office import RULES, happen, until, verified

KILLS, EVENTS = 10, 200


@pytest.fixture
def environment(redis_settings: RedisSettings, tmp_path: Path) -> dict[str, str]:
    keys = tmp_path / "keys"
    keys.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    keys.chmod(0o600)
    return {
        **os.environ,
        "DARKROOM_REDIS_URL": redis_settings.redis_url,
        "DARKROOM_SECRET_FILE": str(keys),
        "DARKROOM_WEBHOOK_HTTP": "true",
        "DARKROOM_WEBHOOK_PORTS": RULES.webhook_ports,
        "DARKROOM_WEBHOOK_NETWORKS": RULES.webhook_networks,
        "DARKROOM_DELIVERY_RETRY_SECONDS": ",".join(["0.1"] * 30),
        "DARKROOM_DELIVERY_TIMEOUT_SECONDS": "0.5",
        "DARKROOM_DELIVERY_LEASE_SPARE_SECONDS": "0.5",
    }


@contextmanager
def running(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as stderr:
        process = subprocess.Popen([sys.executable, "-m", "worker.delivery"], env=environment, stderr=stderr)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_killed_again_and_again_it_delivers_every_event_under_one_id(
    redis_settings: RedisSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    dice, log = secrets.SystemRandom(), tmp_path / "log"

    def moody(_: Received) -> bytes:
        return dice.choice([*[OK] * 12, status(500), status(429, Retry_After="0.1"), b""])

    async def story() -> Any:
        client = make_async_redis(redis_settings)
        sealer = Sealer.from_file(Path(environment["DARKROOM_SECRET_FILE"]))
        async with receiving(moody) as receiver:
            url = f"http://127.0.0.1:{receiver.port}/hook?token=planted-token"
            endpoint = await EndpointStore(client, sealer).create("acme", url=url, events=(), description="")
            for number in range(EVENTS):
                await happen(client, number, owner="acme")
            for _ in range(KILLS):
                arrived = len(receiver.requests)
                with running(environment, log) as process:
                    await until(lambda: len(receiver.requests) >= min(arrived + 15, EVENTS), seconds=60)  # noqa: B023
                    process.send_signal(signal.SIGKILL)
            with running(environment, log):
                outbox = Outbox(client)
                async with asyncio.timeout(120):
                    while (await outbox.backlog())[0]:  # noqa: ASYNC110 -- it is Valkey that knows
                        await asyncio.sleep(0.1)
            undelivered = await outbox.undelivered("acme", limit=EVENTS)
        await client.connection_pool.disconnect()
        return endpoint.secrets[0].text, receiver.requests, undelivered

    secret, requests, undelivered = asyncio.run(story())

    times = Counter((json.loads(one.body)["data"]["job_id"], one.headers["webhook-id"]) for one in requests)
    assert undelivered == []
    assert set(times) == {(f"job_{number}", f"evt_acme_{number}") for number in range(EVENTS)}
    assert all(verified(one, secret) for one in requests)
    assert "planted-token" not in log.read_text()
    assert secret not in log.read_text()


@pytest.mark.slow
def test_sigterm_ends_it_after_what_is_under_way(
    redis_settings: RedisSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(OK)

    async def story() -> tuple[int, int, int]:
        client = make_async_redis(redis_settings)
        sealer = Sealer.from_file(Path(environment["DARKROOM_SECRET_FILE"]))
        async with receiving(slowly) as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            await EndpointStore(client, sealer).create("acme", url=url, events=(), description="")
            await happen(client, 1, owner="acme")
            with running(environment, tmp_path / "log") as process:
                await until(lambda: receiver.connections, seconds=60)
                process.terminate()
                code = await asyncio.to_thread(process.wait, 20)
            left, *_ = await Outbox(client).backlog()
        await client.connection_pool.disconnect()
        return code, left, len(receiver.requests)

    assert asyncio.run(story()) == (0, 0, 1)


@pytest.mark.slow
def test_bad_start_is_one_sentence(environment: dict[str, str]) -> None:
    del environment["DARKROOM_SECRET_FILE"]

    ended = subprocess.run(
        [sys.executable, "-m", "worker.delivery"], env=environment, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("darkroom delivery: DARKROOM_SECRET_FILE ")


@pytest.mark.slow
def test_it_never_loads_torch() -> None:
    code = "import sys, worker.delivery.__main__; print(sorted({'torch', 'diffusers', 'celery'} & set(sys.modules)))"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "[]"
