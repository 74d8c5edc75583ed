"""Bodies of `POST /verify` and `GET /jobs/{id}/recipe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import JOB_ID

ManifestState = Literal["none", "unreadable", "invalid", "valid", "trusted"]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ManifestBody(_Body):
    """The file's C2PA manifest, in short. All texts are the signer's own, and only as true as the signer is."""

    state: ManifestState = Field(
        description="`trusted`: whole, and signed under a certificate that this deployment trusts; `valid`: whole, "
        "signed by somebody else; `invalid`: changed since, or wrongly signed; `unreadable`: damaged."
    )
    issuer: str | None = None
    signed_at: str | None = Field(None, description="By a time-stamp service; null where none was asked.")
    generator: str | None = None
    actions: tuple[str | None, ...] = Field((), examples=[["c2pa.created"]])
    digital_source_type: str | None = None
    ingredients: int = 0
    problems: tuple[str | None, ...] = Field((), description="Codes of what does not fit.")


class WatermarkBody(_Body):
    """This deployment's invisible mark."""

    found: bool
    payload: str | None = Field(None, description="24 bits, in hexadecimal; null where they no longer fit together.")
    strength: float | None = Field(None, description="1 is untouched; about 0.1 would be chance.")


class MatchBody(_Body):
    """An image of your own that the file is, or looks like."""

    job_id: str = Field(examples=[JOB_ID])
    image: int
    by: Literal["watermark", "looks"]
    distance: int | None = Field(description="Of 64 bits of the looks, how many differ; null where there is none.")


class VerifyBody(_Body):
    """Where a file comes from, as far as it can be told."""

    made_here: bool = Field(
        description="It carries this deployment's mark, or a manifest that it trusts. False proves nothing: both can "
        "be removed."
    )
    similar_here: bool = Field(description="An image made here lately looks like it. Plain pictures may by chance.")
    manifest: ManifestBody
    watermark: WatermarkBody
    recipe: str | None = Field(description="What the file says of how it was made; anybody can write that.")
    matches: tuple[MatchBody, ...] = Field(description="Only your own images are named.")


class RecipeImage(_Body):
    """One image of the job."""

    index: int
    recipe: str = Field(description="As text, in the format that files carry.")
    sha256: str = Field(description="Of the file, in hexadecimal.")
    pixels_sha256: str | None = Field(description="Of the pixels before marking; equal for a faithful replay.")


class RecipeBody(_Body):
    """How to make a job again."""

    job_id: str = Field(examples=[JOB_ID])
    request: Mapping[str, Any] = Field(description="A body for `POST /generate`, without the input images.")
    inputs: Mapping[str, str] = Field(description="SHA-256 of the cleaned input images that it also needs.")
    images: tuple[RecipeImage, ...]
