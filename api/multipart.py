"""Reads `multipart/form-data` (RFC 7578), strictly: a few small-headed parts, each named once.

The whole body is at hand and capped by then, so this is a search for the boundary; nothing is spooled and no file name
is ever used. Knows no field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from darkroom.errors import MalformedBody, UnsupportedMediaType

MEDIA_TYPE = "multipart/form-data"
MAX_PARTS = 8
MAX_HEAD = 2_048  # bytes of one part's headers
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_NAME = re.compile(r';\s*name="([^"\r\n]{1,64})"', re.IGNORECASE)
_ENCODED = re.compile(r"^content-transfer-encoding:(?!\s*(?:binary|8bit|7bit)\s*$)", re.IGNORECASE | re.MULTILINE)


def parse_multipart(body: bytes, content_type: str) -> Mapping[str, bytes]:
    """Each part's content by its name.

    Raises:
        UnsupportedMediaType: the header names no boundary.
        MalformedBody: the body is not made of whole, differently named parts.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise UnsupportedMediaType("The Content-Type multipart/form-data must name its boundary.")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode()
    before, *pieces = (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)
    if before.strip() or not pieces or not pieces[-1].startswith(b"--"):
        raise MalformedBody(f"The request body is not multipart/form-data of at most {MAX_PARTS} whole parts.")
    parts: dict[str, bytes] = {}
    for piece in pieces[:-1]:
        name, content = _part(piece)
        if name in parts:
            raise MalformedBody("The request body gives one part twice.")
        parts[name] = content
    return parts


def _part(piece: bytes) -> tuple[str, bytes]:
    head, gap, content = piece.partition(b"\r\n\r\n")
    text = head.decode("utf-8", errors="replace")
    disposition = next((line for line in text.splitlines() if line.lower().startswith("content-disposition:")), "")
    name = _NAME.search(disposition)
    if not gap or len(head) > MAX_HEAD or name is None:
        raise MalformedBody('Each part of the request body needs a Content-Disposition with name="...".')
    if _ENCODED.search(text):
        raise MalformedBody("Each part of the request body must be sent as it is, without a transfer encoding.")
    return name[1], content
