"""Words that are written without their letters: emoji, and base64.

Each is given back as what it means, with its place in the text. An emoji means its official name, cut to a few words; a
run of base64 what it decodes to, if that is plain text. Nothing is decoded twice.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator

MAX_NAME = 40  # characters of an emoji's name
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{4,}+={0,2}+")
_LAST_LATIN = "\u024f"
_PART = re.compile(r"[A-Za-z0-9+]{4,}+={0,2}+")
_MIN_OTHER_SCRIPTS = 12  # characters; "circle" decodes to two letters, one of them Syriac
_FIRST_EMOJI = "\u2190"  # before the arrows stand no pictures


def name_emoji(text: str) -> Iterator[tuple[str, int, int]]:
    """The name of each picture character, once, with its first place."""
    for char in dict.fromkeys(text):
        if char >= _FIRST_EMOJI and unicodedata.category(char) == "So":
            place = text.index(char)
            yield unicodedata.name(char, "")[:MAX_NAME], place, place + 1


def decode_base64(text: str) -> Iterator[tuple[str, int, int]]:
    """What each run of base64 characters decodes to, where that is printable text."""
    for run in _BASE64.finditer(text):
        # Hyphens and slashes belong to one of base64's alphabets, or part its run from another word.
        for part in (run, *_PART.finditer(text, *run.span())):
            decoded = _decode(part[0])
            if decoded is not None:
                yield decoded, *part.span()
                break


def _decode(run: str) -> str | None:
    body = run.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        decoded = base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    decoded = " ".join(decoded.split())
    by_chance = max(decoded, default="") > _LAST_LATIN and len(body) < _MIN_OTHER_SCRIPTS
    return decoded if decoded.isprintable() and not by_chance else None
