"""The dialler: where it connects, where it never does, and what it makes of bad receivers."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from darkroom.settings import DeliverySettings, WebhookSettings
from tests.fixtures.certificates import make_authority
from tests.fixtures.forbidden import FORBIDDEN_ADDRESSES, FORBIDDEN_URLS
from tests.fixtures.ports import free_port
from tests.fixtures.receiver import OK, receiving, status
from worker.delivery.dialler import DialFailed, Dialler, Failure, Reply

ANY_PORT = "1-65535"
OPEN = "127.0.0.2"  # stands for a public address: the tests' rules allow this one of loopback's alone


class Names:
    """A name server that answers in turn, round and round, and counts."""

    def __init__(self, *answers: Iterable[str]) -> None:
        self._answers = [list(answer) for answer in answers]
        self.asked = 0

    async def __call__(self, *_place: object) -> list[str]:
        self.asked += 1
        return self._answers[(self.asked - 1) % len(self._answers)]


@asynccontextmanager
async def dialling(*, resolve: Any = None, networks: str = f"{OPEN}/32", **delivery: Any) -> Any:
    rules = WebhookSettings(webhook_http=True, webhook_ports=ANY_PORT, webhook_networks=networks)
    limits = {"delivery_connect_seconds": 2, "delivery_timeout_seconds": 4} | delivery
    dialler = Dialler(rules, DeliverySettings(**limits), resolve=resolve)
    try:
        yield dialler
    finally:
        dialler.close()


async def post(dialler: Dialler, url: str) -> Reply | Failure:
    try:
        return await dialler.post(url, headers={"Content-Type": "application/json"}, body=b"{}")
    except DialFailed as failed:
        return failed.failure


def exchange(answer: object, *, path: str = "/", **delivery: Any) -> Reply | Failure:
    """What comes of one delivery to a receiver that answers so."""

    async def run() -> Reply | Failure:
        async with receiving(answer, host=OPEN) as receiver, dialling(**delivery) as dialler:
            return await post(dialler, f"http://{OPEN}:{receiver.port}{path}")

    return asyncio.run(run())


def test_request_arrives_as_it_was_meant() -> None:
    async def run() -> Any:
        async with receiving(host=OPEN) as receiver, dialling(resolve=Names([OPEN])) as dialler:
            reply = await post(dialler, f"http://hooks.example.com:{receiver.port}/in?box=1")
            return reply, receiver.port, receiver.requests

    reply, port, [request] = asyncio.run(run())

    assert reply == Reply(200)
    assert (request.line, request.body) == ("POST /in?box=1 HTTP/1.1", b"{}")
    assert request.headers["host"] == f"hooks.example.com:{port}"
    assert request.headers["connection"] == "close"


def test_no_forbidden_address_is_ever_connected_to() -> None:
    """A listener on every address of this machine counts; names and literals lead to all of them."""

    async def run() -> tuple[list[object], int]:
        outcomes: list[object] = []
        async with receiving(host="0.0.0.0") as four, receiving(host="::", port=four.port) as six:  # type: ignore[arg-type]
            async with dialling() as dialler:
                literals = [f"[{text}]" if ":" in text else text for text in FORBIDDEN_ADDRESSES]
                outcomes += [await post(dialler, f"http://{host}:{four.port}/") for host in [*literals, "localhost"]]
            async with dialling(resolve=Names(["127.0.0.1"])) as dialler:
                outcomes += [await post(dialler, url) for url in FORBIDDEN_URLS]
            async with dialling(resolve=Names(*([text] for text in FORBIDDEN_ADDRESSES))) as dialler:
                named = f"http://hooks.example.com:{four.port}/"
                outcomes += [await post(dialler, named) for _ in FORBIDDEN_ADDRESSES]
            connections = four.connections + six.connections
            async with dialling(networks="0.0.0.0/0, ::/0") as careless:
                for host in ("127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "[::1]"):
                    await post(careless, f"http://{host}:{four.port}/")
            assert four.connections + six.connections == connections + 4, "the listeners would have counted"
            return outcomes, connections

    outcomes, connections = asyncio.run(run())

    assert connections == 0
    assert len(outcomes) > 180
    assert set(outcomes) <= {Failure.BAD_URL, Failure.FORBIDDEN, Failure.NO_ADDRESS}


def test_name_that_changes_its_address_is_connected_to_where_it_was_checked() -> None:
    async def run() -> Any:
        names = Names([OPEN], ["127.0.0.1"])
        async with receiving(host=OPEN) as allowed, receiving(host="127.0.0.1", port=allowed.port) as forbidden:
            async with dialling(resolve=names) as dialler:
                outcomes = [await post(dialler, f"http://flips.example.com:{allowed.port}/") for _ in range(20)]
            return outcomes, names.asked, allowed.connections, forbidden.connections

    outcomes, asked, allowed, forbidden = asyncio.run(run())

    assert outcomes == [Reply(200), Failure.FORBIDDEN] * 10
    assert (asked, allowed, forbidden) == (20, 10, 0)


def test_of_a_name_with_a_public_and_a_private_address_only_the_public_one_is_used() -> None:
    async def run() -> Any:
        names = Names(["127.0.0.1", "10.0.0.1", OPEN])
        async with receiving(host=OPEN) as allowed, receiving(host="127.0.0.1", port=allowed.port) as forbidden:
            async with dialling(resolve=names) as dialler:
                reply = await post(dialler, f"http://both.example.com:{allowed.port}/")
            return reply, allowed.connections, forbidden.connections

    assert asyncio.run(run()) == (Reply(200), 1, 0)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_an_answer_and_not_followed(code: int) -> None:
    async def run() -> Any:
        async with receiving(host="127.0.0.1") as forbidden:
            answer = status(code, Location=f"http://127.0.0.1:{forbidden.port}/latest/meta-data/")
            async with receiving(answer, host=OPEN) as allowed, dialling() as dialler:
                reply = await post(dialler, f"http://{OPEN}:{allowed.port}/")
            return reply, forbidden.connections

    assert asyncio.run(run()) == (Reply(code), 0)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")

    assert exchange(OK) == Reply(200)


def test_port_that_the_operator_did_not_open_is_not_dialled() -> None:
    async def run() -> Any:
        rules = WebhookSettings(webhook_http=True, webhook_networks=f"{OPEN}/32")
        dialler = Dialler(rules, DeliverySettings())
        async with receiving(host=OPEN) as receiver:
            outcome = await post(dialler, f"http://{OPEN}:{receiver.port}/")
            dialler.close()
            return outcome, receiver.connections

    assert asyncio.run(run()) == (Failure.BAD_URL, 0)


def test_retry_after_is_handed_on() -> None:
    assert exchange(status(429, Retry_After="120")) == Reply(429, "120")


async def _silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _drip(writer: asyncio.StreamWriter) -> None:
    for character in "HTTP/1.1 200 OK" + "x" * 1_000:
        writer.write(character.encode())
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"y" * 1_000 + b"\r\n")
        await writer.drain()


async def _endless_promises(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 50)
        await writer.drain()


async def _endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    while True:
        writer.write(b"z" * 65_536)
        await writer.drain()


async def _dripping_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"z")
        await writer.drain()
        await asyncio.sleep(0.1)


async def _gone(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (_silence, Failure.TIMEOUT),
        (_drip, Failure.TIMEOUT),
        (_endless_head, Failure.BAD_REPLY),
        (_endless_promises, Failure.BAD_REPLY),
        (_gone, Failure.BAD_REPLY),
        (b"", Failure.BAD_REPLY),
        (b"220 mail.example.com ESMTP\r\n\r\n", Failure.BAD_REPLY),
        (b"+PONG\r\n\r\n", Failure.BAD_REPLY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Failure.BAD_REPLY),
        (_endless_body, Reply(200)),  # its head has said all; the rest is not read
        (_dripping_body, Reply(200)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Reply(200)),
        (b"HTTP/1.0 204 No Content\r\n\r\n", Reply(204)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Reply(200)),
    ],
)
def test_bad_receivers_cost_little_time(answer: object, outcome: object) -> None:
    began = time.monotonic()

    assert exchange(answer, delivery_timeout_seconds=1.5) == outcome
    assert time.monotonic() - began < 2.5


def test_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(100_000_000), 9)[:60_000]
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()

    assert exchange(head + bomb) == Reply(200)


def test_nobody_listens() -> None:
    async def run() -> Any:
        async with dialling() as dialler:
            return await post(dialler, f"http://{OPEN}:{free_port()}/")

    assert asyncio.run(run()) is Failure.UNREACHABLE


def test_name_server_that_does_not_answer_ends_with_the_time_for_connecting() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    async def run() -> Any:
        async with dialling(resolve=never, delivery_connect_seconds=0.2) as dialler:
            return await post(dialler, "http://slow.example.com:80/")

    assert asyncio.run(run()) is Failure.TIMEOUT


@pytest.mark.parametrize(
    ("names", "trusted", "outcome"),
    [
        ("hooks.example.com", True, Reply(200)),
        ("hooks.example.com", False, Failure.TLS),  # signed by somebody unknown
        ("other.example.com", True, Failure.TLS),  # signed for another name
    ],
)
def test_certificate_is_checked_against_the_name(tmp_path: Path, names: str, trusted: bool, outcome: object) -> None:
    authority = make_authority(tmp_path)

    async def run() -> Any:
        files: dict[str, Any] = {"delivery_ca_file": authority.file} if trusted else {}
        listening = receiving(host=OPEN, tls=authority.context(names))
        async with listening as receiver, dialling(resolve=Names([OPEN]), **files) as dialler:
            return await post(dialler, f"https://hooks.example.com:{receiver.port}/")

    assert asyncio.run(run()) == outcome
