"""Names of what the catalogue lists: how they look, and which one somebody most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Annotated

from pydantic import StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


def nearest_name(name: str, names: Collection[str]) -> str | None:
    """The name spelt most like this one; None only where there are none."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return close[0] if close else None
