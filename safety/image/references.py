"""Pictures that outputs must not resemble: for each its vector and its perceptual hash, never the picture itself.

A set is one file of arrays. Each reference belongs to one owner or to all. Which CLIP made the vectors stands in the
file: vectors of another one say nothing. Torch-free; knows no check.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import ConfigurationError

SCHEMA = 1
EVERYBODY = ""  # the owner of references that count for all
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """One protected picture."""

    name: str
    owner: str = EVERYBODY


@dataclass(frozen=True, eq=False)
class References:
    """A set of them; entry i of each part belongs to entry i of the others."""

    embedder: str  # SHA-256 of the CLIP's weights
    entries: tuple[Reference, ...]
    vectors: Vectors  # (n, dimensions), each of length one
    looks: NDArray[np.uint64]  # (n,) perceptual hashes
    has_looks: NDArray[np.bool_]  # (n,) a flat picture has none

    @classmethod
    def empty(cls, embedder: str, *, dimensions: int) -> References:
        vectors = np.zeros((0, dimensions), np.float32)
        return cls(embedder, (), vectors, np.zeros(0, np.uint64), np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.entries)

    def with_more(self, entries: Sequence[Reference], vectors: Vectors, looks: Sequence[int | None]) -> References:
        """The set with these added.

        Raises:
            ConfigurationError: a name is there already, for the same owner.
        """
        known = set(self.entries)
        for entry in entries:
            if entry in known:
                raise ConfigurationError(f"there is a reference named {entry.name!r} already")
            known.add(entry)
        return replace(
            self,
            entries=(*self.entries, *entries),
            vectors=np.concatenate([self.vectors, vectors.astype(np.float32)]),
            looks=np.concatenate([self.looks, np.array([each or 0 for each in looks], np.uint64)]),
            has_looks=np.concatenate([self.has_looks, np.array([each is not None for each in looks], bool)]),
        )

    def without(self, entry: Reference) -> References:
        """The set with one left out.

        Raises:
            ConfigurationError: it isn't there.
        """
        if entry not in self.entries:
            raise ConfigurationError(f"there is no reference named {entry.name!r}")
        kept = np.array([other != entry for other in self.entries])
        return replace(
            self,
            entries=tuple(other for other in self.entries if other != entry),
            vectors=self.vectors[kept],
            looks=self.looks[kept],
            has_looks=self.has_looks[kept],
        )


def load_references(path: Path) -> References:
    """Read a set.

    Raises:
        ConfigurationError: there is no such file, or it holds something else.
    """
    try:
        with zipfile.ZipFile(path) as _, np.load(path, allow_pickle=False) as file:  # else a list, or a pickle
            names, owners = file["names"], file["owners"]
            found = References(
                str(file["embedder"]),
                tuple(Reference(str(name), str(owner)) for name, owner in zip(names, owners, strict=True)),
                file["vectors"],
                file["looks"],
                file["has_looks"],
            )
            schema = int(file["schema"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"the references {path} can't be read: {type(error).__name__}") from error
    if schema != SCHEMA or not _whole(found):
        raise ConfigurationError(f"the references {path} are damaged, or were written by another version")
    return found


def save_references(path: Path, references: References) -> None:
    """Write a set; a reader sees the old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    with scratch.open("wb") as file:
        np.savez(
            file,
            schema=SCHEMA,
            embedder=references.embedder,
            names=np.array([entry.name for entry in references.entries], dtype=np.str_),
            owners=np.array([entry.owner for entry in references.entries], dtype=np.str_),
            vectors=references.vectors,
            looks=references.looks,
            has_looks=references.has_looks,
        )
    scratch.replace(path)


def _whole(found: References) -> bool:
    count = len(found)
    shapes = found.vectors.ndim == 2 and len(found.vectors) == len(found.looks) == len(found.has_looks) == count
    arrays = (found.vectors, found.looks, found.has_looks)
    kinds = [array.dtype.name for array in arrays] == ["float32", "uint64", "bool"]
    return shapes and kinds and bool(np.isfinite(found.vectors).all())
