"""Refuses images that look like one that was taken down, however they came about again.

Looks are compared as 64-bit perceptual hashes, all barred ones at each check. The list is read through a callable, so
that a take-down counts from the next image on; where it can't be read, the runner lets nothing leave. Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from safety.provenance.phash import distance, looks_of
from safety.subjects import ImageSubject
from safety.verdict import Category, Finding, Stage

MOST_BITS = 2


class BarredCheck:
    """The images that were taken down."""

    name = "image_barred"
    stage = Stage.IMAGE

    def __init__(self, barred: Callable[[], Collection[int]], *, most_bits: int = MOST_BITS) -> None:
        """Take the list's reader.

        Args:
            barred: gives the perceptual hashes of what was taken down.
            most_bits: how many of the 64 bits may differ in an image that still counts as the same.
        """
        self._barred = barred
        self._most_bits = most_bits

    def run(self, subject: ImageSubject) -> list[Finding]:
        return self.run_batch([subject])[0]

    def run_batch(self, subjects: Sequence[ImageSubject]) -> list[list[Finding]]:
        """A finding with score 1 for each image that is barred; flat images have no looks and are never."""
        barred = self._barred()
        return [[Finding(Category.custom, 1.0, self.name)] if self._is_barred(s, barred) else [] for s in subjects]

    def _is_barred(self, subject: ImageSubject, barred: Collection[int]) -> bool:
        if not barred or (looks := looks_of(subject.pixels)) is None:
            return False
        return any(distance(looks, other) <= self._most_bits for other in barred)
