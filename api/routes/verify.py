"""`POST /verify`: where a file comes from, as far as the file and this deployment can tell."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from api.auth import ReadKey
from api.dependencies import ServicesDep, SettingsDep
from api.multipart import MEDIA_TYPE, parse_multipart
from api.openapi import errors
from api.provenance_schemas import VerifyBody
from api.strict_json import require_unpacked
from api.verification import FIELD
from darkroom.errors import FieldProblem, InvalidParams, UnsupportedMediaType

router = APIRouter(tags=["provenance"])
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "properties": {FIELD: {"type": "string", "contentMediaType": "application/octet-stream"}},
                    "required": [FIELD],
                    "additionalProperties": False,
                },
                "encoding": {FIELD: {"contentType": "image/png, image/jpeg, image/webp"}},
            }
        },
    }
}


async def _image(request: Request, _key: ReadKey, settings: SettingsDep) -> bytes:
    """The file; it depends on the key so that strangers' bodies are never read."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise UnsupportedMediaType(f"The body must be {MEDIA_TYPE} with the file as its part `{FIELD}`.")
    require_unpacked(request)
    parts = parse_multipart(await request.body(), content_type)
    if set(parts) != {FIELD}:
        raise InvalidParams([FieldProblem(FIELD, "is required, and must be the only part: the file itself")])
    most = settings.max_image_bytes
    if len(parts[FIELD]) > most:
        raise InvalidParams(
            [FieldProblem(FIELD, f"must be a file of at most {most} bytes", f"at most {most} bytes", most)]
        )
    return parts[FIELD]


@router.post(
    "/verify",
    summary="Tell where an image file comes from",
    responses=errors(400, 401, 403, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
)
async def verify(image: Annotated[bytes, Depends(_image)], key: ReadKey, services: ServicesDep) -> VerifyBody:
    """Read the file's manifest, invisible mark and recipe, and look for it among the images made here.

    The file is looked at and forgotten. Images of other owners are never named.
    """
    return await services.verification.verify(image, owner=key.owner)
