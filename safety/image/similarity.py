"""Finds images that resemble a protected reference, by CLIP's vectors and by perceptual hashes.

Every reference is compared: one product of a matrix and a vector, which at 100,000 references costs less than the
image's own vector (docs/safety.md), so no approximate index stands between and none is missed. Scores are made so that
0.5 is the bar of either measure. The set is read again when its file changes; one that can't be read stops all images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import ConfigurationError
from safety.calibration import Calibration
from safety.image.embedder import ImageEmbedder
from safety.image.references import EVERYBODY, References, load_references
from safety.provenance.phash import looks_of
from safety.subjects import ImageSubject
from safety.verdict import Category, Finding, Stage

DEFAULT_BAR = 0.85  # cosine; published for CLIP ViT-L/14
# Bars of other embedders, by the SHA-256 of their weights, as bench/safety/similarity.py sets them.
BARS: Mapping[str, float] = MappingProxyType({})
MOST_BITS = 2  # of the perceptual hash's 64 that may differ in a picture that still counts as the same
SURE = 0.99  # the highest score: below 1, so that a policy can hold every match for a person and refuse none


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A set as it was when its file was last written, with what each owner's images are compared to."""

    references: References
    stamp: tuple[int, int]
    places: Mapping[str, NDArray[np.intp]]  # by owner

    def of(self, owner: str) -> NDArray[np.intp]:
        """Which references count for an owner: everybody's and their own."""
        none = np.zeros(0, np.intp)
        shared = self.places.get(EVERYBODY, none)
        return shared if owner == EVERYBODY else np.concatenate([shared, self.places.get(owner, none)])


class SimilarityCheck:
    """One set of references and its embedder."""

    name = "image_similarity"
    stage = Stage.IMAGE

    def __init__(
        self, path: Path, embedder: ImageEmbedder, *, bar: float | None = None, most_bits: int = MOST_BITS
    ) -> None:
        """Read the set.

        Args:
            path: the set's file.
            embedder: the CLIP that its vectors were made with.
            bar: cosine from which on an image resembles a reference; None means the embedder's own.
            most_bits: how many bits of the perceptual hash may differ.

        Raises:
            ConfigurationError: the set can't be read, or was made with another CLIP.
        """
        self._path = path
        self._embedder = embedder
        own = BARS.get(embedder.sha256, DEFAULT_BAR) if bar is None else bar
        self._of_cosine = Calibration(points=((0.0, 0.0), (own, 0.5), (1.0, SURE)))
        self._of_bits = Calibration(points=((-2.0 * most_bits - 2.0, 0.0), (-float(most_bits), 0.5), (0.5, SURE)))
        self._loaded = self._load()

    def run(self, subject: ImageSubject) -> list[Finding]:
        return self.run_batch([subject])[0]

    def run_batch(self, subjects: Sequence[ImageSubject]) -> list[list[Finding]]:
        """One finding for each image: how near the nearest reference is, by the measure that is surer of it."""
        loaded = self._current()
        vectors = self._embedder([subject.pixels for subject in subjects]).numpy()
        cosines = loaded.references.vectors @ vectors.T  # (references, images)
        return [
            [Finding(Category.trademark, self._score(loaded, subject, cosines[:, index]), self.name)]
            for index, subject in enumerate(subjects)
        ]

    def _score(self, loaded: _Loaded, subject: ImageSubject, cosines: NDArray[np.float32]) -> float:
        places = loaded.of(subject.owner or EVERYBODY)
        if not len(places):
            return 0.0
        alike = self._of_cosine(float(cosines[places].max()))
        return max(alike, self._by_looks(loaded.references, subject, places))

    def _by_looks(self, references: References, subject: ImageSubject, places: NDArray[np.intp]) -> float:
        looks, places = looks_of(subject.pixels), places[references.has_looks[places]]
        if looks is None or not len(places):
            return 0.0
        bits = np.bitwise_count(references.looks[places] ^ np.uint64(looks))
        return self._of_bits(-float(bits.min()))

    def _current(self) -> _Loaded:
        if _stamp(self._path) != self._loaded.stamp:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> _Loaded:
        stamp = _stamp(self._path)
        references = load_references(self._path)
        if references.embedder != self._embedder.sha256:
            raise ConfigurationError(f"the references {self._path} were made with another CLIP than the one given")
        owners = np.array([entry.owner for entry in references.entries], dtype=np.str_)
        places = {str(owner): np.flatnonzero(owners == owner) for owner in np.unique(owners)}
        return _Loaded(references, stamp, places)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigurationError(f"the references {path} can't be read: {error.strerror}") from error
    return found.st_mtime_ns, found.st_size
