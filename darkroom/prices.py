"""What the operator asks for a second of a device: by model, times a factor by plan.

`prices.toml` is read once, at the start of the API; a job keeps the price under which it was taken. Without the file
device time is counted and nothing is asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from darkroom.costs import BILLIONTHS, Price
from darkroom.settings import PriceSettings
from darkroom.toml_file import read_toml

DEAREST = 1_000.0  # a second; what is above is a slip of the pen


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelPrice(_Table):
    """What one device second of a model costs."""

    per_second: float = Field(ge=0, le=DEAREST)


class PlanPrice(_Table):
    """What owners of a plan pay of it."""

    factor: float = Field(ge=0, le=100)


class PriceTable(_Table):
    """The whole file."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    default: ModelPrice
    models: Mapping[str, ModelPrice] = {}
    plans: Mapping[str, PlanPrice] = {}


class Prices:
    """The price of every model for every plan."""

    def __init__(self, table: PriceTable | None = None) -> None:
        self._table = table

    @classmethod
    def from_settings(cls, settings: PriceSettings) -> Self:
        """Read the file that the settings name; without one nothing has a price.

        Raises:
            ConfigurationError: the file can't be read, or says what it should not.
        """
        return cls() if settings.prices_file is None else cls.from_file(settings.prices_file)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        return cls(read_toml(path, PriceTable, what="price table"))

    def of(self, model: str, *, plan: str) -> Price | None:
        """What a device second costs; a plan that the file does not name pays the whole price."""
        table = self._table
        if table is None:
            return None
        per_second = table.models.get(model, table.default).per_second
        factor = table.plans[plan].factor if plan in table.plans else 1.0
        return Price(round(per_second * factor * BILLIONTHS), table.currency)
