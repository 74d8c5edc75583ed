"""Makes job ids: `job_` and 26 characters that sort by time and can't be guessed (48 bits of time, 80 random)."""

from __future__ import annotations

import re
import secrets

from darkroom.clock import unix_time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U to misread
_JOB_ID = re.compile(rf"job_[{_ALPHABET}]{{26}}")


def new_job_id() -> str:
    number = int(unix_time() * 1_000) << 80 | secrets.randbits(80)
    return "job_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_job_id(text: str) -> bool:
    return _JOB_ID.fullmatch(text) is not None
