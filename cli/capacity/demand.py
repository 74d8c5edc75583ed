"""What a pool of workers is to do: jobs an hour by tier, their mix, the wait that is promised, the price of an hour.

Read from a TOML file and checked at the edge. Knows no engine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from darkroom.jobs import Tier
from darkroom.toml_file import read_toml

HOURS = 24
Rate = Annotated[float, Field(ge=0)]


def _some(hours: list[float]) -> list[float]:
    if not any(hours):
        raise ValueError("at least one hour needs jobs")
    return hours


class Kind(BaseModel):
    """One kind of job in a mix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(1.0, gt=0, description="How often, against the other kinds.")
    steps: int = Field(ge=1, le=1000)
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    images: int = Field(1, ge=1)
    guided: bool = True

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def rows(self) -> int:
        """Rows of one of its images."""
        return 2 if self.guided else 1


class TierDemand(BaseModel):
    """The jobs of one tier. `per_hour` is one number, or one for each hour of the day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_hour: (
        Annotated[float, Field(gt=0)]
        | Annotated[list[Rate], Field(min_length=HOURS, max_length=HOURS), AfterValidator(_some)]
    )
    mix: list[Kind] = Field(min_length=1)
    wait_seconds: float = Field(
        ge=0.1, description="The promise: 95 of 100 jobs wait no longer until a worker has them."
    )

    @property
    def hours(self) -> Sequence[float]:
        """Jobs of each hour of the day."""
        return self.per_hour if isinstance(self.per_hour, list) else [self.per_hour] * HOURS

    @property
    def images_a_job(self) -> float:
        return sum(kind.share * kind.images for kind in self.mix) / sum(kind.share for kind in self.mix)

    def draw(self, generator: random.Random) -> Kind:
        return generator.choices(self.mix, [kind.share for kind in self.mix])[0]


class Demand(BaseModel):
    """All tiers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price_per_hour: float = Field(ge=0, description="Of one worker, in the currency of your choice.")
    most_load: float = Field(0.9, gt=0, le=1, description="Of what full forwards could do; a pool is planned below it.")
    tiers: dict[Tier, TierDemand] = Field(min_length=1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """A demand from a file.

        Raises:
            ConfigurationError: when the file can't be read or is not valid.
        """
        return read_toml(path, cls, what="plan")
