"""Finished images: the checks that look at them, and the marks that say where they come from.

What needs a model or a certificate is off by default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from darkroom.settings.environment import Settings


class ImageCheckSettings(Settings):
    """What a worker looks at finished images with. Images that were taken down are barred in any case."""

    image_classifier: str | None = Field(
        None,
        description="Image classifier (transformers): a folder, or `name@revision` with a full commit of the hub. "
        "Unset: off.",
    )
    image_labels: Path | None = Field(
        None, description="File that says which category each label of that classifier means (TOML)."
    )
    safety_checker: Path | None = Field(
        None, description="Folder `safety_checker` of a Stable Diffusion model. Unset: off."
    )
    image_embedder: Path | None = Field(
        None, description="Folder of the CLIP whose vectors the next two settings work on."
    )
    concept_checker: Path | None = Field(
        None, description="Folder of concepts that were made for that CLIP. Unset: off."
    )
    references: Path | None = Field(
        None, description="File of protected references, as `darkroom references` writes it. Unset: off."
    )
    references_bar: float | None = Field(
        None, gt=0, lt=1, description="Cosine from which on an image resembles a reference. Unset: the CLIP's own bar."
    )
    references_bits: int | None = Field(
        None,
        ge=0,
        le=16,
        description="Bits of the perceptual hash that may differ from a reference's. Unset: likewise.",
    )
    watermark_detector: Path | None = Field(
        None, description="Folder of a detector of visible watermarks, like `models/darkroom-tiny-overlay`. Unset: off."
    )
    nudenet: bool = Field(
        default=False, description="Use NudeNet, where its package is installed; it and its weights are under the AGPL."
    )
    barred_bits: int = Field(
        2, ge=0, le=16, description="Bits of the perceptual hash that may differ from an image that was taken down."
    )

    @model_validator(mode="after")
    def _parts_of_image_checks_are_complete(self) -> Self:
        if (self.image_classifier is None) != (self.image_labels is None):
            raise ValueError("DARKROOM_IMAGE_CLASSIFIER and DARKROOM_IMAGE_LABELS belong together")
        if (self.concept_checker or self.references) and self.image_embedder is None:
            raise ValueError("DARKROOM_CONCEPT_CHECKER and DARKROOM_REFERENCES need DARKROOM_IMAGE_EMBEDDER")
        return self


class ProvenanceSettings(Settings):
    """How images say where they come from."""

    watermark: Literal["dct", "dwtDctSvd", "rivaGan", "off"] = Field(
        "dct",
        description="Invisible mark: our own, one of the package `invisible-watermark` (images above 256 pixels a side "
        "only), or none.",
    )
    c2pa_cert_file: Path | None = Field(
        None,
        description="Certificate that signs manifests (PEM, then those that signed it); unset: images are not signed. "
        "`darkroom keys c2pa` makes one.",
    )
    c2pa_key_file: Path | None = Field(None, description="Its private key: PKCS#8 in PEM, without a passphrase.")
    c2pa_trust_file: Path | None = Field(
        None,
        description="Certificates (PEM) whose manifests `POST /verify` calls trusted; unset: those behind the "
        "signing certificate.",
    )
    c2pa_tsa_url: str | None = Field(
        None, description="Time-stamp service (RFC 3161) asked for every image; unset: manifests state no trusted time."
    )
    fingerprints: int = Field(
        100_000, ge=0, description="Newest images that `POST /verify` compares a file with; 0 remembers none."
    )

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.c2pa_cert_file is None) != (self.c2pa_key_file is None):
            raise ValueError("DARKROOM_C2PA_CERT_FILE and DARKROOM_C2PA_KEY_FILE belong together")
        return self
