"""What one worker's engine needs: seconds of a forward over its rows, of an image beside its steps, of a start.

Read from a JSON file: either a profile as written here, or what `bench/engine/gpu.py` writes. Other sizes than the
measured one cost in proportion to their pixels. Knows no demand.
"""

from __future__ import annotations

import json
import statistics
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darkroom.errors import ConfigurationError


class EngineProfile(BaseModel):
    """One worker. `rows` maps a number of rows to the seconds of one forward at `side` x `side` pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    basis: str = Field(description="Where the figures come from: measured how, or assumed.")
    side: int = Field(gt=0, description="Pixels a side of what was measured.")
    rows: dict[int, float] = Field(min_length=1)
    image_seconds: float = Field(ge=0, description="Of the device for one image beside its steps: texts and decode.")
    ticket_seconds: float = Field(0.008, ge=0, description="From the submission until an idle worker has claimed it.")
    claim_seconds: float = Field(0.008, ge=0, description="From the claim until the engine has the job.")
    finish_seconds: float = Field(0.02, ge=0, description="From the last image until the place is free again.")
    start_seconds: float = Field(30.0, ge=0, description="From the order of a worker until it claims.")
    max_rows: int = Field(16, ge=1)
    places: int = Field(16, ge=1, description="Jobs that one worker has in hand at most: DARKROOM_WORKER_CONCURRENCY.")

    @classmethod
    def read(cls, path: Path) -> Self:
        """A profile from a file.

        Raises:
            ConfigurationError: when the file can't be read, or is neither kind of profile.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return cls.model_validate(_of_benchmark(facts) if "forwards" in facts else facts)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise ConfigurationError(f"the profile {path} is not valid: {where}: {problem['msg']}") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(f"the profile {path} can't be read: {type(error).__name__}") from error

    def forward(self, rows: int, pixels: int) -> float:
        """Seconds of one forward: on the line between its measured neighbours, beyond them on the last one."""
        return self._at(rows) * pixels / self.side**2

    def image(self, pixels: int) -> float:
        """Seconds of the device for one image beside its steps."""
        return self.image_seconds * pixels / self.side**2

    def _at(self, rows: int) -> float:
        counts = sorted(self.rows)
        if rows in self.rows or len(counts) == 1:
            return self.rows.get(rows, self.rows[counts[0]])
        above = min(max(bisect_left(counts, rows), 1), len(counts) - 1)
        low, high = counts[above - 1], counts[above]
        slope = (self.rows[high] - self.rows[low]) / (high - low)
        return max(self.rows[low] + slope * (rows - low), min(self.rows.values()))


def _of_benchmark(facts: Mapping[str, Any]) -> dict[str, Any]:
    """From the report of a measurement: medians of its forwards, and what an image took beside them."""
    way = "compiled" if "compiled" in facts["forwards"] else "eager"
    rows = {int(count): statistics.median(seconds) for count, seconds in facts["forwards"][way].items()}
    most = max(rows)
    an_image = 1 / statistics.median(facts["engine"])
    return {
        "name": f"{facts['model']} on {facts['device']}",
        "basis": f"measured on {facts['date']}, {way}, {facts['dtype']}",
        "side": facts["side"],
        "rows": rows,
        "image_seconds": max(an_image - facts["steps"] * rows[most] / (most / 2), 0.0),
        "max_rows": most,
    }


TINY = EngineProfile(
    name="darkroom-tiny on two CPU cores",
    basis="measured: bench/batching.md, medians at 128 x 128 pixels",
    side=128,
    rows={1: 0.0132, 2: 0.0150, 4: 0.0188, 6: 0.0230, 8: 0.0269, 12: 0.0355, 16: 0.0445, 24: 0.0621, 32: 0.0842},
    image_seconds=0.030,
    start_seconds=8.0,
)
SHIPPED: Mapping[str, EngineProfile] = MappingProxyType({"darkroom-tiny": TINY})
