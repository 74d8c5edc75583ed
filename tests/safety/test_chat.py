"""The chat client: a whole answer or a named fault, within its deadline, and nothing said to anybody else."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.errors import CheckUnavailable, ConfigurationError
from darkroom.settings import GuardSettings
from safety.circuit_breaker import CircuitBreaker
from safety.prompt.chat import REPLY_BYTES, ChatClient, ChatFault, ChatUnavailable, Message
from tests.fixtures.certificates import make_authority
from tests.safety.model_server import Behaviour, babbles, cuts, drips, model_server, says, sends

SECRET = "the-callers-own-words"
MESSAGES = [Message("user", SECRET)]


def make_client(url: str, *, breaker: CircuitBreaker | None = None, **settings: Any) -> ChatClient:
    return ChatClient(
        GuardSettings(**{"url": url, "model": "guard", "timeout_seconds": 5.0, **settings}), breaker=breaker
    )


def fault_of(client: ChatClient) -> ChatFault:
    with pytest.raises(ChatUnavailable) as caught:
        client.ask(MESSAGES, max_tokens=16)
    assert SECRET not in str(caught.value)
    return caught.value.fault


def test_question_and_answer_travel_by_the_chat_completions_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    with model_server(says("fine")) as server:
        answer = make_client(server.url, key="k-1").ask(MESSAGES, max_tokens=16)

    assert answer == "fine"
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == "Bearer k-1"
    assert server.asked == [
        {
            "model": "guard",
            "messages": [{"role": "user", "content": SECRET}],
            "max_tokens": 16,
            "temperature": 0,
            "stream": False,
        }
    ]


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        (sends(b"{}", status=500), ChatFault.BUSY),
        (sends(b"{}", status=429), ChatFault.BUSY),
        (sends(b"{}", status=401), ChatFault.REFUSED),
        (sends(b"{}", status=307, Location="http://127.0.0.1:9/"), ChatFault.REFUSED),
        (sends(b"not json"), ChatFault.BAD_REPLY),
        (sends(b"[" * 30_000), ChatFault.BAD_REPLY),
        (sends(b'{"choices": []}'), ChatFault.BAD_REPLY),
        (sends(b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'), ChatFault.BAD_REPLY),
        (sends(b" " * (REPLY_BYTES + 1)), ChatFault.BAD_REPLY),
        (says("Safety: Sa", finish_reason="length"), ChatFault.CUT),
        (cuts, ChatFault.UNREACHABLE),
        (babbles, ChatFault.UNREACHABLE),
    ],
)
def test_what_is_no_answer_is_a_fault(behaviour: Behaviour, fault: ChatFault) -> None:
    with model_server(behaviour) as server:
        assert fault_of(make_client(server.url)) is fault


def test_deadline_holds_for_the_whole_answer_however_it_drips() -> None:
    with model_server(drips) as server:
        started = time.monotonic()
        fault = fault_of(make_client(server.url, timeout_seconds=0.3))

    assert fault is ChatFault.TIMEOUT
    assert time.monotonic() - started < 3


def test_nobody_there_is_a_fault() -> None:
    with model_server(says("fine")) as server:
        url = server.url

    assert fault_of(make_client(url)) is ChatFault.UNREACHABLE


def test_redirect_takes_no_prompt_elsewhere() -> None:
    with model_server(says("fine")) as other, model_server(sends(b"", status=308, Location=other.url)) as server:
        fault_of(make_client(server.url))

    assert other.asked == []


def test_ill_service_is_left_alone_for_a_while_and_then_tried_again() -> None:
    clock = [0.0]
    breaker = CircuitBreaker(faults=2, pause_seconds=30, now=lambda: clock[0])

    with model_server(sends(b"", status=503)) as server:
        client = make_client(server.url, breaker=breaker)
        faults = [fault_of(client) for _ in range(3)]
        server.behaviour = says("fine")
        clock[0] = 30.0
        answer = client.ask(MESSAGES, max_tokens=16)

    assert faults == [ChatFault.BUSY, ChatFault.BUSY, ChatFault.RESTING]
    assert answer == "fine"
    assert len(server.asked) == 3


def test_one_odd_text_does_not_shut_out_everybody_elses() -> None:
    breaker = CircuitBreaker(faults=1)

    with model_server(sends(b"", status=400)) as server:
        client = make_client(server.url, breaker=breaker)
        faults = [fault_of(client) for _ in range(3)]

    assert faults == [ChatFault.REFUSED] * 3


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    authority = make_authority(tmp_path)
    with model_server(says("fine"), tls=authority.context("localhost")) as server:
        yield server.url.replace("127.0.0.1", "localhost"), authority.file


def test_authority_of_ones_own_is_trusted_by_its_file(tls_server: tuple[str, Path]) -> None:
    url, certificate = tls_server

    assert make_client(url, ca_file=certificate).ask(MESSAGES, max_tokens=16) == "fine"


def test_unknown_certificate_is_refused(tls_server: tuple[str, Path]) -> None:
    assert fault_of(make_client(tls_server[0])) is ChatFault.UNREACHABLE


def test_key_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-2\n")

    with model_server(says("fine")) as server:
        make_client(server.url, key="k-1", key_file=tmp_path / "key").ask(MESSAGES, max_tokens=16)

    assert server.headers[0]["Authorization"] == "Bearer k-2"


@pytest.mark.parametrize("key", ["two\nlines", "schl\u00fcssel", "\n"])
def test_key_that_no_header_can_hold_stops_the_start_without_being_shown(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"^DARKROOM_GUARD_KEY: ") as caught:
        make_client("https://guard.internal/v1", key_file=tmp_path / "key")

    assert not key.strip() or key not in str(caught.value)


def test_url_needs_the_name_of_a_model() -> None:
    with pytest.raises(ValueError, match="DARKROOM_GUARD_URL needs DARKROOM_GUARD_MODEL"):
        GuardSettings(url="https://guard.internal/v1")


def test_log_says_which_fault_and_nothing_more(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), model_server(sends(b"", status=500)) as server:
        fault_of(make_client(server.url, key="k-3"))

    said = caplog.text + "".join(capsys.readouterr())
    assert SECRET not in said
    assert "k-3" not in said


@pytest.mark.parametrize(
    "url",
    [
        "ftp://guard.internal/v1",
        "guard.internal/v1",
        "https:///v1",
        "https://user:pass@guard.internal/v1",
        "https://guard.internal/v1?key=1",
        "https://guard.internal:port/v1",
        "http://guard.internal/v1",
    ],
)
def test_unfit_url_stops_the_start_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^DARKROOM_GUARD_URL ") as caught:
        make_client(url)

    assert url not in str(caught.value)


def test_plain_http_elsewhere_needs_a_word() -> None:
    make_client("http://guard.internal/v1", http=True)


@pytest.mark.parametrize("name", ["key_file", "ca_file"])
def test_missing_file_stops_the_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^DARKROOM_GUARD_{name.upper()}: "):
        make_client("https://host/v1", **{name: tmp_path / "none"})


def test_fault_of_the_model_is_a_missing_check() -> None:
    assert issubclass(ChatUnavailable, CheckUnavailable)
