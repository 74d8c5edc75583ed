"""Finds the name that somebody most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest_name(name: str, names: Collection[str]) -> str | None:
    """The name spelt most like this one; None only where there are none."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return close[0] if close else None
