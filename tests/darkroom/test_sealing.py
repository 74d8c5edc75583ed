"""Sealing texts, and the file that holds the keys."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError, SealBroken
from darkroom.sealing import Sealer
from darkroom.settings import SecretSettings

OLD, NEW = bytes(range(32)), bytes(range(100, 132))
TEXT = "a red circle \U0001f600 é\n"


def _file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "darkroom.secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_what_was_sealed_opens_and_shows_nothing() -> None:
    sealer = Sealer([OLD])

    sealed = sealer.seal(TEXT)

    assert sealer.open(sealed) == TEXT
    assert "circle" not in sealed
    assert sealer.seal(TEXT) != sealed


def test_first_key_seals_and_all_open() -> None:
    before, after = Sealer([OLD]), Sealer([NEW, OLD])

    assert after.open(before.seal(TEXT)) == TEXT
    with pytest.raises(SealBroken):
        before.open(after.seal(TEXT))


@pytest.mark.parametrize("spoil", [lambda text: text[:-4] + "AAAA", lambda _: "", lambda _: "é", lambda _: "x" * 99])
def test_changed_text_does_not_open(spoil: object) -> None:
    sealer = Sealer([OLD])

    with pytest.raises(SealBroken):
        sealer.open(spoil(sealer.seal(TEXT)))


@pytest.mark.parametrize(
    "line",
    [
        base64.b64encode(NEW).decode(),
        base64.urlsafe_b64encode(NEW).decode(),
        base64.urlsafe_b64encode(NEW).decode().rstrip("="),
    ],
)
def test_file_of_keys_is_read_in_its_order(tmp_path: Path, line: str) -> None:
    path = _file(tmp_path, f"\n{line}\r\n  {base64.b64encode(OLD).decode()}\n\n")

    sealer = Sealer.from_file(path)

    assert sealer.open(Sealer([OLD]).seal(TEXT)) == TEXT
    assert Sealer([NEW]).open(sealer.seal(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds no key"),
        ("\n\n", "holds no key"),
        ("kanarienvogel", "line 1 is not a key"),
        (f"{base64.b64encode(OLD).decode()}\n{base64.b64encode(OLD[:31]).decode()}", "line 2 is not a key"),
        ("é" * 43, "line 1 is not a key"),
        ("\0" * 44, "line 1 is not a key"),
        ("A" * 70_000, "too large"),
    ],
)
def test_malformed_file_is_refused_without_being_shown(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault) as caught:
        Sealer.from_file(_file(tmp_path, text))

    assert "DARKROOM_SECRET_FILE" in caught.value.detail
    assert not any(line.strip() and line.strip() in caught.value.detail for line in text.splitlines())


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602])
def test_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="other users"):
        Sealer.from_file(_file(tmp_path, base64.b64encode(OLD).decode(), mode))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_file_of_its_owner_or_group_is_read(tmp_path: Path, mode: int) -> None:
    Sealer.from_file(_file(tmp_path, base64.b64encode(OLD).decode(), mode))


@pytest.mark.parametrize("name", ["missing", "."])
def test_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        Sealer.from_file(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_file_that_this_user_may_not_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        Sealer.from_file(_file(tmp_path, base64.b64encode(OLD).decode(), 0o000))


def test_service_needs_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKROOM_SECRET_FILE", raising=False)

    with pytest.raises(ConfigurationError, match="DARKROOM_SECRET_FILE must name"):
        Sealer.from_settings(SecretSettings.from_env())
