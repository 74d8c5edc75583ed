"""Reads a request body as JSON, strictly: what two readers could understand differently is refused.

Beyond Python's own parser it refuses other media types, deep nesting, a name given twice, NaN and Infinity, bytes that
are not UTF-8 and endless numbers. Knows no model.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import anyio.to_thread
from starlette.requests import Request

from darkroom.errors import MalformedBody, UnsupportedMediaType

MAX_DIGITS = 400  # the longest finite double has 309; int() refuses more than 4,300 with an error of its own
OFF_LOOP = 65_536  # bytes from which on parsing would hold the event loop up
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_MEDIA_TYPE = re.compile(r'application/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)


async def read_json(request: Request, *, max_depth: int) -> Any:
    """The body's value.

    Raises:
        UnsupportedMediaType: it is not sent as JSON.
        MalformedBody: it is not JSON, or not a kind that every reader understands alike.
    """
    if not _MEDIA_TYPE.fullmatch(request.headers.get("content-type", "").strip()):
        raise UnsupportedMediaType
    require_unpacked(request)
    body = await request.body()
    if len(body) < OFF_LOOP:
        return parse(body, max_depth=max_depth)
    return await anyio.to_thread.run_sync(lambda: parse(body, max_depth=max_depth))


def require_unpacked(request: Request) -> None:
    """Refuse a packed body: what it unpacks to is not capped by anything."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The request body must be sent without a Content-Encoding.")


def parse(body: bytes, *, max_depth: int) -> Any:
    """The value of a JSON text."""
    if not body.strip():
        raise MalformedBody("The request body is empty.")
    if _depth(body) > max_depth:
        raise MalformedBody(f"The request body is nested more than {max_depth} levels deep.")
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        raise MalformedBody(f"The request body is not UTF-8 text (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedBody(f"The request body is not valid JSON: {error.msg.lower()} ({where}).") from None


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedBody("The request body has an object that gives one name twice.")
    return value


def _refuse_constant(_name: str) -> NoReturn:
    raise MalformedBody("The request body holds NaN or Infinity, which JSON does not have.")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise MalformedBody(f"The request body holds a number of more than {MAX_DIGITS} digits.")
    return int(digits)
