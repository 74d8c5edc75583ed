"""What a caller holds of a running engine: one image's handle, and a snapshot of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from engine.samples import GeneratedImage, Sample


class EngineHandle:
    """One submitted image. Callbacks added to the future run on the device thread, so they must be quick."""

    def __init__(self, sample: Sample, wake: Callable[[], None]) -> None:
        self._sample = sample
        self._wake = wake

    @property
    def future(self) -> Future[GeneratedImage]:
        return self._sample.future

    @property
    def device_seconds(self) -> float:
        """What the image has taken of the device so far; also of one that failed or was cancelled."""
        return self._sample.device_seconds

    def cancel(self) -> None:
        """Give the rows back within one step; the future then raises GenerationCancelled. Too late does nothing."""
        self._sample.cancelled = True
        self._wake()


@dataclass(frozen=True)
class EngineStats:
    """A snapshot; its numbers are read one after the other while the engine runs on."""

    waiting: int  # samples without rows yet
    running: int  # samples being denoised
    rows: int  # rows that they take
    denoised: int  # samples waiting for the VAE
    max_rows: int
    steps: int  # forwards of a group since the start
    embedding_hits: int
    embedding_misses: int
    models: tuple[str, ...]  # loaded
    model_bytes: int  # of their weights, and of those that load
    row_caps: Mapping[tuple[str, str], int]  # (model, "512x512") -> most rows of one forward, where it was measured
    adapters: tuple[str, ...]  # resident
    last_step_at: float  # time.monotonic() seconds
