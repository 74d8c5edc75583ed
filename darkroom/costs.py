"""What a job takes of a device and what is asked for it: whole microseconds, whole billionths of a currency.

Whole numbers, so that the sum over jobs is the ledger's to the last digit. Who counts them is `lua/usage.lua`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

MICRO, BILLIONTHS = 1_000_000, 1_000_000_000
_PRICE = re.compile(r"(\d+) ([A-Z]{3})")


@dataclass(frozen=True)
class Price:
    """Of one device second, as it stood when the job was taken."""

    billionths: int
    currency: str

    def of(self, seconds: float) -> float:
        """The amount for so many device seconds."""
        return seconds * self.billionths / BILLIONTHS

    def __str__(self) -> str:
        """As the record holds it."""
        return f"{self.billionths} {self.currency}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        match = _PRICE.fullmatch(text)
        return cls(int(match[1]), match[2]) if match else None


@dataclass(frozen=True)
class Cost:
    """All attempts of a job took `device_us`; of that, `billed_us` made the images that were released."""

    device_us: int = 0
    billed_us: int = 0
    spent: int = 0  # billionths
    billed: int = 0  # billionths


NO_COST = Cost()


def microseconds(seconds: float) -> int:
    return round(seconds * MICRO)
