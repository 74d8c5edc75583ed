"""How metrics name owners: by their own name where the settings list them, else by their plan.

At most fifty names, so that a service with many owners does not drown Prometheus in series.
"""

from __future__ import annotations

from typing import Self

from darkroom.owners import Owners
from darkroom.settings import OwnersSettings


class OwnerLabels:
    """The owner label's values."""

    def __init__(self, owners: Owners, listed: frozenset[str] = frozenset()) -> None:
        self._owners = owners
        self._listed = listed

    @classmethod
    def from_settings(cls, settings: OwnersSettings) -> Self:
        """Read owners and list.

        Raises:
            ConfigurationError: the file of owners can't be used.
        """
        return cls(Owners.from_settings(settings), settings.listed)

    def of(self, owner: str) -> str:
        """The label's value; a plan's is marked, for an owner may have a plan's name."""
        return owner if owner in self._listed else f"plan:{self._owners.of(owner).plan}"
