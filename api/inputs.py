"""A job's input images on their way in: decoded, made clean, stored, and taken back where no job came of it.

They lie under `inputs/{job}/` as PNGs of our own making. The caller's bytes are kept only where they hold a C2PA
manifest, which the images made with them have to pass on, and then sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import anyio.to_thread

from api.input_decoder import DecodedImage, InputDecoder
from api.verification import Verification
from darkroom.capabilities import InputImages
from darkroom.errors import ObjectStoreUnavailable
from darkroom.logs import get_logger
from darkroom.object_store import ObjectStore, input_key, input_prefix
from darkroom.object_store.keys import content_type_of, original_key
from darkroom.params import StoredImage
from darkroom.sealing import Sealer

log = get_logger(__name__)
# Field of the request -> (the file's name in the store, how it is decoded).
_FIELDS: Mapping[str, tuple[str, str]] = {"init_image": ("init", "picture"), "mask_image": ("mask", "mask")}


@dataclass(frozen=True)
class JobInputs:
    """What came with one request: how the recipe names it, and the files to store."""

    images: InputImages
    files: Mapping[str, bytes]  # by object key


class InputStore:
    """Takes input images in; one a process."""

    def __init__(self, objects: ObjectStore, verification: Verification, sealer: Sealer) -> None:
        self._objects = objects
        self._verification = verification
        self._sealer = sealer
        self._decoder = InputDecoder()

    async def decode(self, job_id: str, files: Mapping[str, bytes]) -> JobInputs:
        """Make the files clean, without storing anything.

        Raises:
            InvalidParams: one of them can't be used.
        """
        stored: dict[str, StoredImage] = {}
        kept: dict[str, bytes] = {}
        blank = False
        for field, (name, kind) in _FIELDS.items():
            if field in files:
                image = await self._decoder.decode(field, kind, files[field])
                stored[name] = _stored(input_key(job_id, name), image)
                kept[stored[name].key] = image.png
                blank = blank or image.blank
                if content_type := await self._verification.has_manifest(files[field]):
                    key = original_key(job_id, name)
                    stored[name] = stored[name].model_copy(update={"original": key, "original_type": content_type})
                    kept[key] = await anyio.to_thread.run_sync(self._sealer.seal_bytes, files[field])
        return JobInputs(InputImages(stored.get("init"), stored.get("mask"), mask_is_blank=blank), kept)

    async def put(self, inputs: JobInputs) -> None:
        """Store the files. It comes before the record: a job that can be claimed has its inputs."""
        for key, data in inputs.files.items():
            await anyio.to_thread.run_sync(self._objects.put, key, data, content_type_of(key))

    async def discard(self, job_id: str, inputs: JobInputs) -> None:
        """Delete the files of a job that was not made; what can't be deleted now is only left over."""
        if not inputs.files:
            return
        try:
            await anyio.to_thread.run_sync(self._objects.delete_prefix, input_prefix(job_id))
        except ObjectStoreUnavailable:
            log.warning("inputs_not_discarded", job_id=job_id)


def _stored(key: str, image: DecodedImage) -> StoredImage:
    return StoredImage(key=key, sha256=hashlib.sha256(image.png).hexdigest(), width=image.width, height=image.height)
