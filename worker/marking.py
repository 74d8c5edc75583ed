"""What a finished image goes through on its way into a file: marked, written with its recipe, signed last.

Each part is there or not, by settings. Knows no job store; the fingerprints that lead from a mark back to its job are
written by the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import redis
from numpy.typing import NDArray

from darkroom.errors import ConfigurationError, InputUnavailable, ObjectNotFound, SealBroken
from darkroom.fingerprints import Fingerprint, FingerprintLog
from darkroom.jobs import Job
from darkroom.logs import get_logger
from darkroom.object_store import CONTENT_TYPES, ObjectStore
from darkroom.params import GenerationParams, StoredImage
from darkroom.sealing import Sealer, derived_keys
from darkroom.settings import ProvenanceSettings, SecretSettings
from safety.provenance.credentials import Credentials
from safety.provenance.manifest import Ingredient, ManifestSigner
from safety.provenance.phash import looks_of
from safety.provenance.reading import KEY_PURPOSE
from safety.provenance.watermark import METHODS, Watermark, payload_of

log = get_logger(__name__)


@dataclass(frozen=True)
class Marking:
    """The parts of one process; without any of them images are written as they are."""

    watermark: Watermark | None = None
    signer: ManifestSigner | None = None
    fingerprints: FingerprintLog | None = None
    sealer: Sealer | None = None

    @classmethod
    def from_settings(
        cls, settings: ProvenanceSettings, secrets: SecretSettings, client: redis.Redis, sealer: Sealer
    ) -> Marking:
        """The parts that the settings name.

        Raises:
            ConfigurationError: a file or a package is missing or wrong.
        """
        credentials = Credentials.from_settings(settings)
        if credentials is None:
            log.warning("images_are_not_signed", reason="DARKROOM_C2PA_CERT_FILE is not set")
        return cls(
            watermark=_watermark(settings, secrets),
            signer=ManifestSigner(credentials) if credentials else None,
            fingerprints=FingerprintLog(client, kept=settings.fingerprints),
            sealer=sealer,
        )

    def mark(self, job: Job, index: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The pixels with the mark of this image of the job."""
        return pixels if self.watermark is None else self.watermark.embed(pixels, payload_of(job.id, index))

    def remember(self, job: Job, index: int, pixels: NDArray[np.uint8]) -> None:
        """Keep what leads from the image back to the job.

        Raises:
            JobStoreUnavailable: Redis is not answering.
        """
        if self.fingerprints is not None:
            self.fingerprints.add(Fingerprint(job.owner, job.id, index, payload_of(job.id, index), looks_of(pixels)))

    def ingredients(self, params: GenerationParams, objects: ObjectStore) -> tuple[Ingredient, ...]:
        """The input images for the manifest: as they came where that is kept, else as the engine saw them.

        Raises:
            ObjectStoreUnavailable: the object store is not answering.
        """
        if self.signer is None:
            return ()
        given = {"init": params.init_image, "mask": params.mask_image}
        return tuple(self._ingredient(name, image, objects) for name, image in given.items() if image is not None)

    def _ingredient(self, name: str, image: StoredImage, objects: ObjectStore) -> Ingredient:
        if image.original and image.original_type and self.sealer:
            with suppress(ObjectNotFound, SealBroken):  # then the clean picture stands in
                data = self.sealer.open_bytes(objects.get(image.original))
                return Ingredient(name, image.original_type, data)
        try:
            return Ingredient(name, CONTENT_TYPES["png"], objects.get(image.key))
        except ObjectNotFound:
            raise InputUnavailable from None

    def sign(self, data: bytes, content_type: str, *, model: str, ingredients: Sequence[Ingredient]) -> bytes:
        """The file with a manifest, as the last thing that is done to it.

        Raises:
            SigningUnavailable: it could not be signed.
        """
        if self.signer is None:
            return data
        return self.signer.sign(data, content_type, model=model, ingredients=ingredients)


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """What two runs of one recipe are compared by: the pixels before they are marked, with their size."""
    height, width = pixels.shape[:2]
    return hashlib.sha256(f"{width}x{height}\0".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _watermark(settings: ProvenanceSettings, secrets: SecretSettings) -> Watermark | None:
    if settings.watermark == "off":
        return None
    keys = derived_keys(secrets, KEY_PURPOSE)
    if not keys:
        raise ConfigurationError("DARKROOM_SECRET_FILE must name the file whose first key makes invisible marks")
    return METHODS[settings.watermark](keys[0])
