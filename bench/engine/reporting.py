"""How figures are told: medians of paired ratios with their range, and on which machine."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from typing import Any


def against(values: Sequence[float], others: Sequence[float]) -> tuple[str, str]:
    """The median of the rounds' own ratios, and their range."""
    return spread([value / other for value, other in zip(values, others, strict=True)])


def spread(ratios: Sequence[float]) -> tuple[str, str]:
    return f"**{statistics.median(ratios):.2f}x**", f"{min(ratios):.2f} to {max(ratios):.2f}"


def machine() -> dict[str, Any]:
    return {"machine": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
