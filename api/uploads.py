"""Reads the body of `POST /generate`: a request, and the image files that came with it.

Files come as base64 inside the JSON, or as parts of `multipart/form-data` beside a JSON part `request`; both give the
same. From here on a file's SHA-256 stands in the request's place of it, so that two bodies are equal when they mean the
same job. Nothing is decoded as an image here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from starlette.requests import Request

from api.multipart import MEDIA_TYPE, parse_multipart
from api.strict_json import parse, read_json, require_unpacked
from api.validation import closest, validated
from darkroom.errors import FieldProblem, InvalidParams
from darkroom.params import GenerationRequest
from darkroom.settings import ApiSettings

REQUEST_PART = "request"
FILE_FIELDS = ("init_image", "mask_image")


@dataclass(frozen=True)
class Upload:
    """A request and its files by field; the request names each by its digest."""

    request: GenerationRequest
    files: Mapping[str, bytes]


async def read_upload(request: Request, settings: ApiSettings) -> Upload:
    """The body.

    Raises:
        UnsupportedMediaType: it is neither JSON nor multipart/form-data.
        MalformedBody: it is not what its type says.
        InvalidParams: a field is not valid, or a file too large.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        value = await read_json(request, max_depth=settings.max_json_depth)
        return await anyio.to_thread.run_sync(_upload, value, {}, settings.max_image_bytes)
    require_unpacked(request)
    body = await request.body()
    return await anyio.to_thread.run_sync(_from_parts, body, content_type, settings)


def _from_parts(body: bytes, content_type: str, settings: ApiSettings) -> Upload:
    parts = parse_multipart(body, content_type)
    names = (REQUEST_PART, *FILE_FIELDS)
    for name in parts:
        if name not in names:
            limit = f"one of {', '.join(names)}"
            raise InvalidParams([FieldProblem("body", "has a part of an unknown name", limit, closest(name, names))])
    if REQUEST_PART not in parts:
        raise InvalidParams([FieldProblem(REQUEST_PART, "is required: a part that holds the request as JSON")])
    value = parse(parts[REQUEST_PART], max_depth=settings.max_json_depth)
    files = {name: parts[name] for name in FILE_FIELDS if name in parts}
    return _upload(value, files, settings.max_image_bytes)


def _upload(value: Any, parts: Mapping[str, bytes], max_bytes: int) -> Upload:
    request = validated(GenerationRequest, value)
    texts = {name: text for name in FILE_FIELDS if (text := getattr(request, name)) is not None}
    if both := texts.keys() & parts.keys():
        limit = "in the JSON or as a part"
        raise InvalidParams([FieldProblem(min(both), "is given twice", limit)])
    files = {**parts, **{name: _from_base64(name, text, max_bytes) for name, text in texts.items()}}
    for name, data in files.items():
        if len(data) > max_bytes:
            raise InvalidParams([_too_large(name, max_bytes)])
    digests = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in files.items()}
    return Upload(request.model_copy(update=digests), files)


def _from_base64(name: str, text: str, max_bytes: int) -> bytes:
    if len(text) > (max_bytes + 2) // 3 * 4:
        raise InvalidParams([_too_large(name, max_bytes)])
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        message = "must be a file in standard base64, without line breaks; it is never fetched from a URL"
        raise InvalidParams([FieldProblem(name, message, "base64")]) from None


def _too_large(name: str, max_bytes: int) -> FieldProblem:
    return FieldProblem(name, f"must be a file of at most {max_bytes} bytes", f"at most {max_bytes} bytes", max_bytes)
