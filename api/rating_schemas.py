"""Bodies of ratings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from api.schemas import JOB_ID

THUMBS: Mapping[str, int] = {"up": 5, "down": 1}


def _as_number(value: object) -> object:
    return THUMBS.get(value, value) if isinstance(value, str) else value


_ANY_OF = [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "string", "enum": list(THUMBS)}]


class RatingRequest(BaseModel):
    """How good a job's images are: 1 to 5, or a thumb up (5) or down (1)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rating: Annotated[int, Field(ge=1, le=5), BeforeValidator(_as_number), WithJsonSchema({"anyOf": _ANY_OF})] = Field(
        description="1 (bad) to 5 (good); `up` stands for 5, `down` for 1.", examples=[5]
    )


class RatingBody(BaseModel):
    """The rating as it counts now."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=[JOB_ID])
    rating: int = Field(ge=1, le=5)


RATING_BODIES: tuple[type[BaseModel], ...] = (RatingRequest,)
