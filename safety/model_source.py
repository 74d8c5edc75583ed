"""Where a model of a check lies: a local folder, or one exact commit of a repository on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.errors import ConfigurationError

_PINNED = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")


@dataclass(frozen=True)
class ModelSource:
    """What transformers is to load."""

    place: str
    revision: str | None  # None: a local folder

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Read `folder` or `owner/name@revision`.

        Raises:
            ConfigurationError: it is no folder that is there, and no full commit is named.
        """
        if text and Path(text).is_dir():
            return cls(text, None)
        pinned = _PINNED.fullmatch(text)
        if pinned is None:
            raise ConfigurationError("a model must be a folder, or owner/name@ and the 40 digits of a commit")
        return cls(pinned["name"], pinned["revision"])

    @property
    def options(self) -> dict[str, Any]:
        """How to load: no code of the repository runs, and a folder never asks the network."""
        if self.revision is None:
            return {"local_files_only": True, "trust_remote_code": False}
        return {"revision": self.revision, "trust_remote_code": False}
