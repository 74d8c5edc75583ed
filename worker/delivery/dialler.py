"""The one place of Darkroom that connects to addresses which strangers chose.

A name is resolved once for each delivery, what it resolves to is checked, and the connection is made to a checked
address: there is no second look-up that could answer otherwise. No redirect is followed, no proxy asked, no reply kept.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from enum import StrEnum

import h11

from darkroom.addresses import Address, canonical, why_forbidden
from darkroom.settings import DeliverySettings, WebhookSettings
from darkroom.webhook_urls import BadWebhookUrl, WebhookUrl, read_webhook_url

REPLY_BYTES = 65_536  # read at most, head and body together
HEAD_BYTES = 16_384
PARTING_SECONDS = 1.0  # for the body of a reply, whose head has already said everything
MOST_ADDRESSES = 4  # of one name, tried in turn
RESOLVERS = 32  # look-ups at once: a thread each, so that a slow name server holds up only its own names

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Failure(StrEnum):
    """Why there was no reply."""

    BAD_URL = "bad_url"  #: the URL may not be used, or not any more
    NO_ADDRESS = "no_address"  #: the name leads nowhere
    FORBIDDEN = "forbidden_address"  #: the name leads to no public address
    UNREACHABLE = "unreachable"  #: no connection, or it broke
    TLS = "tls"  #: the certificate or the handshake is not in order
    TIMEOUT = "timeout"
    BAD_REPLY = "bad_reply"  #: what came back is not HTTP, or too much of it, or nothing


class DialFailed(Exception):
    """There was no reply."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(str(failure))


@dataclass(frozen=True)
class Reply:
    """What a receiver answered, as far as anybody needs it."""

    status: int
    retry_after: str | None = None


class Dialler:
    """Posts to receivers, safely."""

    def __init__(self, rules: WebhookSettings, delivery: DeliverySettings, *, resolve: Resolve | None = None) -> None:
        """`resolve` gives a name's addresses; by default the system does."""
        self._rules = rules
        self._connect_seconds = delivery.delivery_connect_seconds
        self._total_seconds = delivery.delivery_timeout_seconds
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
        self._resolve = resolve or self._ask_system
        self._tls = ssl.create_default_context()
        if delivery.delivery_ca_file is not None:
            self._tls.load_verify_locations(delivery.delivery_ca_file)

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send one request and give the reply's status.

        Raises:
            DialFailed: there was none.
        """
        try:
            place = read_webhook_url(url, self._rules)
        except BadWebhookUrl:
            raise DialFailed(Failure.BAD_URL) from None
        try:
            async with asyncio.timeout(self._total_seconds):
                return await self._exchange(place, headers, body)
        except TimeoutError:
            raise DialFailed(Failure.TIMEOUT) from None

    def close(self) -> None:
        """Let go of the threads; a look-up under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _exchange(self, place: WebhookUrl, headers: Mapping[str, str], body: bytes) -> Reply:
        reader, writer = await self._connect(place)
        try:
            conversation = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
            writer.write(_request(conversation, place, headers, body))
            return await _read_reply(conversation, reader)
        except OSError:
            raise DialFailed(Failure.UNREACHABLE) from None
        finally:
            writer.transport.abort()

    async def _connect(self, place: WebhookUrl) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        failure = Failure.UNREACHABLE
        async with asyncio.timeout(self._connect_seconds):
            for address in (await self._addresses(place))[:MOST_ADDRESSES]:
                try:
                    return await self._dial(address, place)
                except ssl.SSLError:
                    failure = Failure.TLS
                except OSError:
                    continue
        raise DialFailed(failure)

    async def _dial(self, address: Address, place: WebhookUrl) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # The address goes in as text, which asyncio takes as it is; the name serves the certificate alone.
        secure = place.scheme == "https"
        return await asyncio.open_connection(
            str(address),
            place.port,
            limit=HEAD_BYTES,
            ssl=self._tls if secure else None,
            server_hostname=place.host if secure else None,
        )

    async def _addresses(self, place: WebhookUrl) -> list[Address]:
        """The addresses that may be connected to, in the resolver's order, each once."""
        try:
            found = [canonical(text) for text in await self._resolve(place.host, place.port)]
        except (OSError, ValueError):
            found = []
        if not found:
            raise DialFailed(Failure.NO_ADDRESS)
        open_to_us = [one for one in found if not why_forbidden(one, allowed=self._rules.networks)]
        if not open_to_us:
            raise DialFailed(Failure.FORBIDDEN)
        return list(dict.fromkeys(open_to_us))

    async def _ask_system(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        look_up = loop.run_in_executor(self._threads, _look_up, host, port)
        return await look_up


def _look_up(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _request(conversation: h11.Connection, place: WebhookUrl, headers: Mapping[str, str], body: bytes) -> bytes:
    every = {"Host": place.authority, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    head = h11.Request(method="POST", target=place.target, headers=list(every.items()))
    return b"".join(conversation.send(event) or b"" for event in (head, h11.Data(data=body), h11.EndOfMessage()))


async def _read_reply(conversation: h11.Connection, reader: asyncio.StreamReader) -> Reply:
    """The head of the reply; of the body a little, for receivers that mind a connection closed in their face."""
    events = _events(conversation, reader)
    async with aclosing(events):
        try:
            head = await anext(events)
        except h11.RemoteProtocolError:
            raise DialFailed(Failure.BAD_REPLY) from None
        assert isinstance(head, h11.Response), "a reply begins with its head"
        with suppress(h11.RemoteProtocolError, TimeoutError, OSError):
            async with asyncio.timeout(PARTING_SECONDS):
                while isinstance(await anext(events), h11.Data):
                    continue
    after = [value.decode("latin-1") for name, value in head.headers if name == b"retry-after"]
    return Reply(status=head.status_code, retry_after=after[0] if after else None)


async def _events(conversation: h11.Connection, reader: asyncio.StreamReader) -> AsyncGenerator[h11.Event]:
    """What the receiver says, as long as it does not say too much."""
    left = REPLY_BYTES
    while True:
        event = conversation.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(8_192)
            left -= len(data)
            if left < 0:
                raise h11.RemoteProtocolError("the reply is too large")
            conversation.receive_data(data)
        elif not isinstance(event, h11.InformationalResponse):
            assert isinstance(event, h11.Event), "a conversation is never paused before its end"
            yield event
