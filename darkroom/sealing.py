"""Seals texts that Redis and the object store hold for longer than a moment: prompts, secrets of webhooks.

Fernet (AES-128-CBC under HMAC-SHA256) with keys from one file, a key a line: the first one seals, every one opens, so
that a key is changed without losing what the old one sealed. Knows no job and no webhook.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from darkroom.errors import ConfigurationError, SealBroken
from darkroom.settings import SecretSettings

KEY_BYTES = 32
MAX_FILE_BYTES = 64 * 1024
VARIABLE = "DARKROOM_SECRET_FILE"
_TO_URL_SAFE = str.maketrans("+/", "-_")


class Sealer:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys` of 32 bytes each, the newest first."""
        if not keys:
            raise ValueError("a sealer needs at least one key")
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """The sealer of a file of keys.

        Raises:
            ConfigurationError: the file is missing, open to everybody, or holds anything but keys.
        """
        return cls(_read_keys(path))

    @classmethod
    def from_settings(cls, settings: SecretSettings) -> Sealer:
        """The sealer that the settings name; a service doesn't start without one."""
        if settings.secret_file is None:
            raise ConfigurationError(
                f"{VARIABLE} must name the file whose keys seal prompts and secrets at rest; "
                "make one with: (umask 077; openssl rand -base64 32 > darkroom.secret)"
            )
        return cls.from_file(settings.secret_file)

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def seal_bytes(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def open_bytes(self, sealed: bytes) -> bytes:
        """What was sealed.

        Raises:
            SealBroken: by none of these keys, or it was changed since.
        """
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise SealBroken from None

    def open(self, sealed: str) -> str:
        """What was sealed.

        Raises:
            SealBroken: by none of these keys, or it was changed since.
        """
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SealBroken from None


def derived_keys(settings: SecretSettings, purpose: str) -> tuple[bytes, ...]:
    """A key for another purpose from each key of the file, the newest first; none where there is no file.

    Raises:
        ConfigurationError: the file can't be used.
    """
    if settings.secret_file is None:
        return ()
    return tuple(hmac.digest(key, purpose.encode(), "sha256") for key in _read_keys(settings.secret_file))


def _read_keys(path: Path) -> Sequence[bytes]:
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{VARIABLE}: the file can't be read ({error.strerror})") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigurationError(
            f"{VARIABLE}: other users may read or change the file; allow its owner, and at most its group to read"
        )
    if len(text) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{VARIABLE}: the file is too large to be a list of keys")
    lines = enumerate(text.decode("ascii", errors="replace").splitlines(), start=1)
    keys = [_read_key(line.strip(), number) for number, line in lines if line.strip()]
    if not keys:
        raise ConfigurationError(f"{VARIABLE}: the file holds no key")
    return keys


def _read_key(line: str, number: int) -> bytes:
    """A key in either alphabet of base64, padded or not."""
    try:
        key = base64.b64decode(line.translate(_TO_URL_SAFE) + "=" * (-len(line) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{VARIABLE}: line {number} is not a key of {KEY_BYTES} bytes in base64")
    return key
