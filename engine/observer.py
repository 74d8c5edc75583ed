"""What the engine tells whoever counts: the worker turns it into metrics.

All of it is called on the device thread between steps, so it must be quick and must not raise.
"""

from __future__ import annotations

from typing import Protocol


class EngineObserver(Protocol):
    def step(self, model: str, *, rows: int, seconds: float, samples: int) -> None:
        """One forward of a group and its samples' scheduler steps."""

    def alone(self, model: str, *, seconds: float) -> None:
        """Work for one sample by itself: its prompts and input image were encoded, or a piece of it decoded."""

    def admitted(self, model: str, wait_seconds: float) -> None:
        """A sample got its rows."""

    def retired(self, model: str, outcome: str) -> None:
        """A sample ended: "succeeded", or the code of the error that its future holds."""

    def embedding_cache(self, *, hit: bool) -> None:
        """A prompt was looked up."""

    def model_loaded(self, model: str, *, weights: int, tier: str) -> None:
        """A model is in memory, in this memory tier, with so many bytes of weights."""

    def model_evicted(self, model: str) -> None:
        """A model left the memory for another's sake."""

    def row_cap(self, model: str, size: str, rows: int) -> None:
        """From now on a forward of images of this size ("512x512") takes so many rows at most."""


class SilentObserver:
    """Counts nothing."""

    def step(self, model: str, *, rows: int, seconds: float, samples: int) -> None: ...

    def alone(self, model: str, *, seconds: float) -> None: ...

    def admitted(self, model: str, wait_seconds: float) -> None: ...

    def retired(self, model: str, outcome: str) -> None: ...

    def embedding_cache(self, *, hit: bool) -> None: ...

    def model_loaded(self, model: str, *, weights: int, tier: str) -> None: ...

    def model_evicted(self, model: str) -> None: ...

    def row_cap(self, model: str, size: str, rows: int) -> None: ...
