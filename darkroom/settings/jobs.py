"""What holds for jobs: how long they are kept, what each owner may do and pays, and what may be run.

Owners, prices and models stand in files of their own; here are the paths to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from darkroom.settings.environment import Settings


class JobSettings(Settings):
    """How long records are kept and how often a job may be run."""

    result_ttl_seconds: int = Field(
        7 * 24 * 3600,
        ge=60,
        description="How long an ended job is kept, record and images, where its owner has no retention of their own.",
    )
    archive_seconds: int = Field(
        24 * 3600,
        ge=1,
        description="How long the record of an ended job stays in Redis; then it lies beside its images. "
        "Never shorter than an Idempotency-Key is remembered.",
    )
    gone_seconds: int = Field(
        30 * 24 * 3600, ge=0, description="How long a removed job answers 410 to its owner instead of 404."
    )
    idempotency_ttl_seconds: int = Field(24 * 3600, ge=60, description="How long an Idempotency-Key is remembered.")
    max_queued: int = Field(
        50_000, ge=1, description="Jobs of all owners that may wait at once; then 503 `overloaded`."
    )
    age_cap_seconds: float = Field(
        300.0,
        gt=0,
        description="A job that waits longer is not overtaken for what a worker has loaded, nor by one priority above.",
    )
    region: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9-]{0,31})?$",
        description="Name of the region that this installation serves; its jobs, metrics and logs carry it.",
    )
    max_attempts: int = Field(20, ge=1, description="Runs after which a job fails with `attempts_exhausted`.")
    max_transient: int = Field(5, ge=0, description="Transient faults after which a job fails with the fault's code.")


class OwnersSettings(Settings):
    """What each owner may do."""

    owners_file: Path | None = Field(
        None, description="File that grants owners shares and caps (`owners.toml`); unset: the defaults for everybody."
    )
    metrics_owners: str = Field(
        "", description="Owners that metrics name, by commas, 50 at most; all others count under their plan."
    )

    @property
    def listed(self) -> frozenset[str]:
        """The owners that metrics name."""
        return frozenset(name.strip() for name in self.metrics_owners.split(",") if name.strip())

    @model_validator(mode="after")
    def _few_owners_are_listed(self) -> Self:
        if len(self.listed) > 50:
            raise ValueError("DARKROOM_METRICS_OWNERS may list 50 owners at most: each costs many series")
        return self


class PriceSettings(Settings):
    """What device time costs."""

    prices_file: Path | None = Field(
        None,
        description="File of prices by model and plan (`prices.toml`); unset: time is counted, nothing is asked for.",
    )


class CatalogueSettings(Settings):
    """What may be run."""

    catalogue: Path = Field(Path("catalogue.toml"), description="File that lists models and adapters.")
