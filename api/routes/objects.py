"""`GET /objects/...`: files of the local store, for whoever holds a signed link. An S3 service serves its own links."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Path, Query, Response
from starlette.concurrency import run_in_threadpool

from api.dependencies import ServicesDep
from api.openapi import errors
from darkroom.clock import unix_time
from darkroom.errors import ObjectNotFound
from darkroom.object_store import LocalObjectStore, plain_store
from darkroom.object_store.keys import content_type_of

router = APIRouter(tags=["jobs"])
_FILE = {"description": "The file.", "content": {"application/octet-stream": {}, "image/*": {}}}


@router.get(
    "/objects/{key:path}", summary="Fetch a file", response_class=Response, responses={200: _FILE, **errors(404, 503)}
)
async def fetch(
    key: Annotated[str, Path(description="The file's key.")],
    services: ServicesDep,
    expires: Annotated[str, Query(description="When the link stops working, in Unix seconds.")] = "",
    signature: Annotated[str, Query(description="Proves that the service made the link.")] = "",
) -> Response:
    """The file behind a link from a job. A link that is wrong, changed or too old leads nowhere."""
    links = cast("LocalObjectStore", plain_store(services.objects))  # the route exists only for that one
    left = _seconds_left(expires)
    if left <= 0 or not links.verify_link(key, int(expires), signature, unix_time()):
        raise ObjectNotFound
    data = await run_in_threadpool(services.objects.get, key)
    return Response(
        data,
        media_type=content_type_of(key),
        headers={
            "Content-Disposition": f'attachment; filename="{_filename(key)}"',
            "Cache-Control": f"private, max-age={left}, immutable",
        },
    )


def _seconds_left(expires: str) -> int:
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12):
        return 0
    return int(int(expires) - unix_time())


def _filename(key: str) -> str:
    """The job's id and the image's index, as for the links of S3; a signed key has our own alphabet."""
    parts = key.split("/")
    return "-".join(parts[1:2] + parts[-1:])
