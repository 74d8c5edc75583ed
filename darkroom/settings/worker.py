"""The process that generates: its tiers, its device, and how it keeps what it has claimed.

Which models it runs is the catalogue's matter, which checks it makes that of the settings of safety.
"""

from __future__ import annotations

from typing import Self

from pydantic import ByteSize, Field, model_validator

from darkroom.jobs import Tier
from darkroom.settings.environment import Settings


class WorkerSettings(Settings):
    """The process round the engine."""

    worker_tiers: str = Field("preview,standard,quality", description="Tiers this worker serves, comma-separated.")
    helps: str = Field(
        "", description="Tiers of other pools that this worker helps while its own have no work, comma-separated."
    )
    help_idle_seconds: float = Field(5.0, ge=0, description="Time without work of its own before a worker helps.")
    worker_concurrency: int = Field(16, ge=1, le=256, description="Jobs in hand at once (task threads).")
    max_rows: int = Field(
        16, ge=1, le=512, description="Most rows of one forward; a guided image takes two, a safe-guided one three."
    )
    profile_seconds: float = Field(
        1.0, ge=0, le=60, description="Time to measure the best row count of a model's native size; 0 measures nothing."
    )
    models_budget: ByteSize | None = Field(
        None, gt=0, description="Memory for the weights of all models, like `24GB`; unset loads and keeps every model."
    )
    compile: bool = Field(default=False, description="Compile the UNets; needs a C++ compiler, and minutes at first.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    torch_threads: int = Field(0, ge=0, description="CPU threads of one forward; 0 leaves PyTorch its own choice.")
    niceness: int = Field(
        0, ge=0, le=19, description="How far the process steps back behind others on its machine, as `nice` counts."
    )
    lease_seconds: float = Field(30.0, gt=0, description="After this long without a heartbeat a job is taken back.")
    heartbeat_seconds: float = Field(5.0, gt=0, description="Pause between heartbeats.")
    reaper_seconds: float = Field(3.0, gt=0, description="Pause between reaper rounds.")
    orphan_seconds: float = Field(3600.0, gt=0, description="Age at which files that no record names are deleted.")
    grace_seconds: float = Field(20.0, ge=0, description="Time for running jobs after SIGTERM; the rest is released.")
    metrics_host: str = Field("127.0.0.1", description="Address of the worker's metrics.")
    metrics_port: int = Field(0, ge=0, le=65_535, description="Port of the worker's metrics; 0 serves none.")

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers by name, in the order given."""
        return tuple(Tier(name.strip()) for name in self.worker_tiers.split(","))

    @property
    def helped_tiers(self) -> tuple[Tier, ...]:
        """The tiers to help, in the order given."""
        return tuple(Tier(name.strip()) for name in self.helps.split(",") if name.strip())

    @model_validator(mode="after")
    def _helps_fit(self) -> Self:
        helped = [name.strip() for name in self.helps.split(",") if name.strip()]
        own = {name.strip() for name in self.worker_tiers.split(",")}
        if set(helped) - ({str(tier) for tier in Tier} - own) or len(set(helped)) != len(helped):
            raise ValueError("DARKROOM_HELPS must list tiers that are not in DARKROOM_WORKER_TIERS, each at most once")
        return self

    @model_validator(mode="after")
    def _values_fit_together(self) -> Self:
        known = {str(tier) for tier in Tier}
        names = [name.strip() for name in self.worker_tiers.split(",")]
        if set(names) - known or len(set(names)) != len(names):
            raise ValueError("DARKROOM_WORKER_TIERS must list each of preview, standard, quality at most once")
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("DARKROOM_HEARTBEAT_SECONDS must be at most half of DARKROOM_LEASE_SECONDS")
        return self
