"""Asks a language model over HTTP, by the chat-completions call that OpenAI's API made common.

Prompts go to the one URL that the operator set and nowhere else: no redirect is followed, no proxy of the environment
is used, and neither logs nor errors hold a text, the key or the URL. Each call has one deadline for everything, the
name's look-up included, and a bound on what is read. Knows no guard model and no category.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from darkroom.errors import CheckUnavailable, ConfigurationError
from darkroom.logs import get_logger
from darkroom.settings import ChatSettings
from safety.circuit_breaker import CircuitBreaker

REPLY_BYTES = 65_536
_HERE = frozenset({"127.0.0.1", "::1", "localhost"})

log = get_logger(__name__)


class ChatFault(StrEnum):
    """Why there is no answer."""

    RESTING = "resting"  #: it failed too often in a row, so it was not asked
    UNREACHABLE = "unreachable"  #: no connection, a broken one, or a bad certificate
    TIMEOUT = "timeout"
    BUSY = "busy"  #: status 429 or 5xx
    REFUSED = "refused"  #: any other status but 200: a wrong key, an unknown model, a text too long, a redirect
    BAD_REPLY = "bad_reply"  #: not a chat completion, or too long
    CUT = "cut"  #: the model did not come to an end


# What says that the service itself is ill. The others can come of one odd text, which must not shut out everybody's.
_ILL = frozenset({ChatFault.UNREACHABLE, ChatFault.TIMEOUT, ChatFault.BUSY})


class ChatUnavailable(CheckUnavailable):
    """The language model gave no usable answer."""

    def __init__(self, fault: ChatFault) -> None:
        self.fault = fault
        super().__init__(f"the language model gave no usable answer: {fault}")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str = field(repr=False)


class _ReplyMessage(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _ReplyMessage
    finish_reason: str | None = None


class _Reply(BaseModel):
    choices: list[_Choice]


class ChatClient:
    """One model behind one URL. It is built once and used from any thread that runs no event loop."""

    def __init__(self, settings: ChatSettings, *, breaker: CircuitBreaker | None = None) -> None:
        """Read key and certificates.

        Raises:
            ConfigurationError: the URL or a file is no use.
        """
        assert settings.url is not None, "without a URL there is nothing to ask"
        prefix = settings.prefix()
        self._url = _endpoint(settings, prefix)
        self._model = settings.model
        self._timeout_seconds = settings.timeout_seconds
        self._headers = _headers(_key(settings, prefix))
        self._tls = _tls(settings.ca_file, prefix)
        self._breaker = breaker or CircuitBreaker()

    def ask(self, messages: Sequence[Message], *, max_tokens: int) -> str:
        """Give the model's answer, which is complete.

        Raises:
            ChatUnavailable: there is none.
        """
        if not self._breaker.admits():
            raise ChatUnavailable(ChatFault.RESTING)
        try:
            answer = asyncio.run(self._within_deadline(self._body(messages, max_tokens)))
        except ChatUnavailable as error:
            if error.fault in _ILL:
                self._breaker.failed()
            log.warning("language_model_unavailable", fault=str(error.fault))
            raise
        self._breaker.answered()
        return answer

    def _body(self, messages: Sequence[Message], max_tokens: int) -> Mapping[str, object]:
        return {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": False,
        }

    async def _within_deadline(self, body: Mapping[str, object]) -> str:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return _content(await self._post(body))
        except TimeoutError:
            raise ChatUnavailable(ChatFault.TIMEOUT) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
            raise ChatUnavailable(ChatFault.UNREACHABLE) from None

    async def _post(self, body: Mapping[str, object]) -> bytes:
        async with (
            # The one deadline is the caller's: a time-out of the client's would begin anew with every read.
            httpx2.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False, timeout=None) as http,
            http.stream("POST", self._url, json=body, headers=self._headers) as reply,
        ):
            if reply.status_code != httpx2.codes.OK:
                busy = reply.status_code == httpx2.codes.TOO_MANY_REQUESTS or reply.status_code >= 500
                raise ChatUnavailable(ChatFault.BUSY if busy else ChatFault.REFUSED)
            data = bytearray()
            async for part in reply.aiter_raw():  # as sent: nothing here unpacks what could be a bomb
                data += part
                if len(data) > REPLY_BYTES:
                    raise ChatUnavailable(ChatFault.BAD_REPLY)
            return bytes(data)


def _content(data: bytes) -> str:
    try:
        choices = _Reply.model_validate_json(data).choices
    except ValidationError:
        raise ChatUnavailable(ChatFault.BAD_REPLY) from None
    if len(choices) != 1:
        raise ChatUnavailable(ChatFault.BAD_REPLY)
    if choices[0].finish_reason != "stop":
        raise ChatUnavailable(ChatFault.CUT)
    return choices[0].message.content


def _endpoint(settings: ChatSettings, prefix: str) -> str:
    """The call's URL below the API's base.

    Raises:
        ConfigurationError: it is no URL, or prompts would travel in the clear.
    """
    try:
        parts = urlsplit(settings.url or "")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError(f"{prefix}URL must be the base of an API, like https://host/v1")
    if parts.scheme == "http" and host not in _HERE and not settings.http:
        raise ConfigurationError(
            f"{prefix}URL would send prompts in the clear: use https, or set {prefix}HTTP=true for a private network"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/chat/completions"


def _key(settings: ChatSettings, prefix: str) -> str | None:
    key = settings.key.get_secret_value() if settings.key else None
    try:
        if settings.key_file is not None:
            key = settings.key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{prefix}KEY_FILE: the file can't be read") from None
    if key is not None and not (key.isascii() and key.isprintable() and key):
        raise ConfigurationError(f"{prefix}KEY: the key holds what no header can")
    return key


def _headers(key: str | None) -> Mapping[str, str]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "darkroom"}
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}


def _tls(ca_file: Path | None, prefix: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(f"{prefix}CA_FILE: the file can't be read as certificates (PEM)") from None
