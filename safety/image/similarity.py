"""Finds images that resemble a protected reference, by CLIP's vectors and by perceptual hashes.

An image resembles a reference whose vector is very near, or rather near while the hash is near, too: the hash knows
the layout and no colours, the vector the rest. The mirrored image is compared as well. Every reference is compared, one
product of matrices that at 100,000 takes milliseconds (docs/safety.md), so no approximate index can miss one. Scores
are made so that 0.5 is the bar. The set is read again when its file changes; one that can't be read stops all images.
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

SURE = 0.99  # the highest score: below 1, so that a policy can hold every match for a person and refuse none


@dataclass(frozen=True)
class Bars:
    """From where on two pictures resemble each other."""

    alone: float  # cosine that is enough by itself
    beside: float  # cosine that is enough beside a near hash
    bits: int  # of the hash's 64 that may differ in a near one


# The first is published for CLIP ViT-L/14; the others nobody has measured on it.
DEFAULT_BARS = Bars(alone=0.85, beside=0.75, bits=6)
# Of other embedders, by the SHA-256 of their weights, as bench/safety/similarity.py sets them.
BARS: Mapping[str, Bars] = MappingProxyType(
    {
        # darkroom-tiny-clip, at 1 % of unrelated pictures that are taken for one of 300 references
        "a817ee52b654e1c80ea82e085d8e244ebf4fbf35d48b313ee3abfb8dcf870aaf": Bars(alone=0.9995, beside=0.9964, bits=10),
    }
)


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
        self, path: Path, embedder: ImageEmbedder, *, bar: float | None = None, bits: int | None = None
    ) -> None:
        """Read the set.

        Args:
            path: the set's file.
            embedder: the CLIP that its vectors were made with.
            bar: cosine that is enough by itself; None means the embedder's own.
            bits: how many bits of the perceptual hash may differ; None means the embedder's own.

        Raises:
            ConfigurationError: the set can't be read, or was made with another CLIP.
        """
        self._path = path
        self._embedder = embedder
        own = BARS.get(embedder.sha256, DEFAULT_BARS)
        self._beside, self._bits = own.beside, own.bits if bits is None else bits
        self._of_cosine = Calibration(points=((0.0, 0.0), (own.alone if bar is None else bar, 0.5), (1.0, SURE)))
        self._loaded = self._load()

    def run(self, subject: ImageSubject) -> list[Finding]:
        return self.run_batch([subject])[0]

    def run_batch(self, subjects: Sequence[ImageSubject]) -> list[list[Finding]]:
        """One finding for each image: how near the nearest reference is, by the measure that is surer of it."""
        loaded = self._current()
        ways = [way for subject in subjects for way in (subject.pixels, np.ascontiguousarray(subject.pixels[:, ::-1]))]
        cosines = loaded.references.vectors @ self._embedder(ways).numpy().T  # (references, two ways of each image)
        looks = [looks_of(way) for way in ways]
        scores = [
            self._score(loaded, loaded.of(subjects[index // 2].owner or EVERYBODY), cosines[:, index], looks[index])
            for index in range(len(ways))
        ]
        pairs = zip(scores[::2], scores[1::2], strict=True)
        return [[Finding(Category.trademark, float(np.max(pair)), self.name)] for pair in pairs]  # keeps a NaN

    def _score(
        self, loaded: _Loaded, places: NDArray[np.intp], cosines: NDArray[np.float32], looks: int | None
    ) -> float:
        """How surely one way of an image resembles any of the references at these places."""
        if not len(places):
            return 0.0
        cosines = cosines[places]
        alone = self._of_cosine(float(cosines.max()))
        if alone >= 0.5 or looks is None:
            return alone
        bits = np.bitwise_count(loaded.references.looks[places] ^ np.uint64(looks))
        near = loaded.references.has_looks[places] & (bits <= self._bits) & (cosines >= self._beside)
        return 0.5 + (SURE - 0.5) * float(cosines[near].max()) if near.any() else alone

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
