"""How far a job is: steps over all its images, written now and then.

The engine's device thread only notes numbers here; the job's own thread asks `due` and does the writing, so a slow
store never holds a denoising step up.
"""

from __future__ import annotations

import time

from darkroom.jobs import Progress
from engine.samples import OnStep

SECONDS = 0.5  # between two writes of one job


class ProgressNotes:
    """The steps of one attempt's images."""

    def __init__(self, *, images: int, steps_each: int, seconds: float = SECONDS) -> None:
        self._done = [0] * images
        self._totals = [steps_each] * images  # until the engine tells: from an image it runs fewer
        self._seconds = seconds
        self._told = 0
        self._next_at = 0.0
        self.first_at: float | None = None  # when the first step was done, on this machine's monotonic clock

    def of_image(self, index: int) -> OnStep:
        """What the engine calls after each step of one image."""

        def note(done: int, total: int) -> None:
            self._done[index], self._totals[index] = done, total
            if self.first_at is None:
                self.first_at = time.monotonic()

        return note

    def due(self) -> Progress | None:
        """The progress to write now, or None when nothing is new or the last write is too fresh."""
        step, now = sum(self._done), time.monotonic()
        if step == self._told or now < self._next_at:
            return None
        self._told, self._next_at = step, now + self._seconds
        return Progress(step=step, steps=sum(self._totals))
