"""Shares with their uncertainty: Wilson's interval for a count, at 95 %.

It holds for small counts and for shares at 0 and 1, where the usual formula gives an interval of no width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt

_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Share:
    """A count out of a total."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies with 95 % confidence (Wilson, 1927)."""
        if not self.total:
            return (0.0, 1.0)
        n, p, z2 = self.total, self.value, _Z**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return (max(0.0, middle - half), min(1.0, middle + half))

    def as_json(self) -> dict[str, object]:
        low, high = self.interval
        return {**asdict(self), "share": round(self.value, 5), "low": round(low, 5), "high": round(high, 5)}

    def __str__(self) -> str:
        """The way tables show it: "12 / 300 (4.0 %, 2.3 to 6.9 %)"."""
        low, high = self.interval
        return f"{self.count:,} / {self.total:,} ({self.value:.1%}, {low:.1%} to {high:.1%})"
