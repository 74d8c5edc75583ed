"""What an operator grants each owner: a share of the workers, caps, and how long ended jobs are kept.

`owners.toml` names owners in tables of their own; `[default]` stands for all others, and for what a table leaves out.
It is read once, at the start of the process that admits jobs, and a job keeps the terms under which it was taken. Who
is suspended just now, the job store knows, and where webhooks go: that holds secrets, so it is no matter for a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darkroom.errors import ConfigurationError
from darkroom.settings import OwnersSettings
from darkroom.toml_file import load_toml

DEFAULT = "default"
_NO_ENDPOINTS = (
    "webhook endpoints have secrets, so their owners make them: `POST /webhooks`, or `darkroom webhooks create`"
)


class OwnerSettings(BaseModel):
    """One owner's terms. A cap that is left out is no cap."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weight: float = Field(1.0, ge=0.001, le=1_000, description="Share of a tier's workers, against other owners'.")
    max_queued: int | None = Field(10_000, ge=1, description="Jobs that may wait at once.")
    max_running: int | None = Field(None, ge=1, description="Jobs that may run at once; more stay queued.")
    cost_per_minute: float | None = Field(
        None, gt=0, description="Work that may be submitted in a minute, in megapixels times steps."
    )
    budget_per_day: float | None = Field(
        None, gt=0, description="Work that may be submitted in a day (UTC), in megapixels times steps."
    )
    spend_per_day: float | None = Field(
        None, gt=0, le=1e6, description="What may be billed in a day (UTC), in the currency of the price table."
    )
    plan: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
        description="Name under which metrics count this owner, and prices may differ.",
    )
    policy: str | None = Field(
        None, max_length=64, description="Name of the safety policy that judges; unset: DARKROOM_POLICY."
    )
    previews: bool = Field(default=True, description="Whether the owner may see previews, where its policy allows any.")
    retention_seconds: int | None = Field(
        None, ge=60, description="How long ended jobs are kept; unset: DARKROOM_RESULT_TTL_SECONDS."
    )


class Owners:
    """Every owner's settings, by name."""

    def __init__(self, listed: Mapping[str, OwnerSettings] | None = None, default: OwnerSettings | None = None) -> None:
        self._listed = dict(listed or {})
        self._default = default or OwnerSettings()

    @classmethod
    def from_settings(cls, settings: OwnersSettings) -> Self:
        """Read the file that the settings name; without one, everybody has the defaults.

        Raises:
            ConfigurationError: the file can't be read, or says what it should not.
        """
        return cls() if settings.owners_file is None else cls.from_file(settings.owners_file)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        tables = load_toml(path, what="owners file")
        shared = tables.pop(DEFAULT, {})
        default = _read(path, DEFAULT, shared)
        return cls({name: _read(path, name, _merged(shared, table)) for name, table in tables.items()}, default)

    def of(self, owner: str) -> OwnerSettings:
        """This owner's settings."""
        return self._listed.get(owner, self._default)

    def names(self) -> list[str]:
        """The owners that the file lists."""
        return sorted(self._listed)


def _merged(shared: Any, table: Any) -> Any:
    return {**shared, **table} if isinstance(table, dict) else table


def _read(path: Path, name: str, table: Any) -> OwnerSettings:
    if isinstance(table, dict) and "endpoints" in table:
        raise ConfigurationError(f"{path}: {name}.endpoints: {_NO_ENDPOINTS}")
    try:
        return OwnerSettings.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join([name, *map(str, first["loc"])])
        raise ConfigurationError(f"{path}: {where}: {first['msg']}") from None
