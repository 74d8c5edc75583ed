"""Reads the request headers that change what a route does: `Idempotency-Key` and `Prefer`."""

from __future__ import annotations

import re

from darkroom.errors import FieldProblem, InvalidParams

IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_KEY = 255  # characters
_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY}}}")
_QUOTED = re.compile(r'"([^"\\]*)"')
_WAIT = re.compile(r'\bwait\s*=\s*"?(\d{1,6})"?', re.IGNORECASE)


def idempotency_key(value: str | None) -> str | None:
    """The key, bare or as a structured-field string: `"abc"` and `abc` are the same key.

    Raises:
        InvalidParams: it is empty, too long, or holds anything but printable ASCII without spaces.
    """
    if value is None:
        return None
    quoted = _QUOTED.fullmatch(value.strip())
    key = quoted[1] if quoted else value.strip()
    if not _KEY.fullmatch(key):
        limit = f"1 to {MAX_KEY} printable ASCII characters without spaces"
        raise InvalidParams([FieldProblem(IDEMPOTENCY_KEY, f"must have {limit}", limit)])
    return key


def preferred_wait(value: str | None, *, longest: int) -> int | None:
    """Seconds that `Prefer: wait=N` asks for, at most `longest`; None without one (RFC 7240: ignore the rest)."""
    match = _WAIT.search(value or "")
    return min(int(match[1]), longest) if match else None
