"""What a source offers: a model's files with their sizes and digests. Which of them a model needs is decided here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Protocol

from darkroom.errors import ConfigurationError

INDEX = "model_index.json"
OURS = frozenset({"SHA256SUMS", "source.json"})  # written by us
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_TEXTS = frozenset({".json", ".txt", ".model", ".md"})
_PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth"})
_VARIANT = re.compile(r"(?P<stem>[A-Za-z0-9_-]+)\.(?P<variant>[A-Za-z0-9_]+)(?P<shard>-\d+-of-\d+)?\.safetensors")


@dataclass(frozen=True)
class OfferedFile:
    """One file. The digests are the source's own word, where it gives one."""

    path: str  # at the source
    size: int
    sha256: str | None = None
    git_sha1: str | None = None  # of the blob, for small files of the hub
    saved_as: str = ""  # where a variant takes the place of the plain file

    @property
    def place(self) -> str:
        return self.saved_as or self.path


@dataclass(frozen=True)
class Offer:
    """A model as a source has it."""

    origin: str  # hub id, or the name of a folder or archive
    revision: str  # 40 digits for the hub, else empty
    licence: str
    files: tuple[OfferedFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class Source(Protocol):
    """Where a model comes from."""

    def offer(self) -> Offer:
        """Everything that lies there."""

    def read(self, file: OfferedFile, *, start: int) -> Iterator[bytes]:
        """The file's bytes from `start` on; a source that can't begin there gives none and raises CannotResume."""


class CannotResume(Exception):
    """The source gives this file from its beginning only."""


def needed(offer: Offer, *, variant: str | None = None) -> Offer:
    """The offer with the files that a model in diffusers' format needs: safetensors and texts, never a pickle.

    Args:
        variant: such as `fp16`: those weights take the place of the plain ones where there are some.

    Raises:
        ConfigurationError: it is no such model, or has weights as pickles only.
    """
    files = [file for file in offer.files if _is_safe(file.path)]  # .gitattributes and the like are none we want
    if not any(file.path == INDEX for file in files):
        raise ConfigurationError(f"{offer.origin} has no {INDEX}: it is no model in diffusers' format")
    folders: dict[str, list[OfferedFile]] = defaultdict(list)
    for file in files:
        folders[str(PurePosixPath(file.path).parent)].append(file)
    chosen = [file for folder, found in sorted(folders.items()) for file in _of_folder(folder, found, variant)]
    return replace(offer, files=tuple(sorted(chosen, key=lambda file: file.place)))


def _of_folder(folder: str, files: Sequence[OfferedFile], variant: str | None) -> list[OfferedFile]:
    texts = [file for file in files if _is_text(file.path)]
    if folder == ".":  # whole checkpoints in one file lie here, beside what we want
        return [file for file in texts if PurePosixPath(file.path).name not in OURS]
    weights = _weights(files, variant)
    if not weights and any(PurePosixPath(file.path).suffix in _PICKLES for file in files):
        raise ConfigurationError(f"the folder {folder} has its weights as pickles only, which Darkroom does not load")
    return [*texts, *weights]


def _weights(files: Sequence[OfferedFile], variant: str | None) -> list[OfferedFile]:
    plain, variants = [], []
    for file in files:
        path = PurePosixPath(file.path)
        if path.suffix != ".safetensors":
            continue
        match = _VARIANT.fullmatch(path.name)
        if match is None:
            plain.append(file)
        elif match["variant"] == variant and match["shard"] is None:
            variants.append(replace(file, saved_as=str(path.with_name(f"{match['stem']}.safetensors"))))
    replaced = {file.place for file in variants}
    return [*variants, *(file for file in plain if file.path not in replaced)]


def _is_text(path: str) -> bool:
    name = PurePosixPath(path).name
    if ".index." in name and name.count(".") > 3:  # of a variant's shards
        return False
    return PurePosixPath(path).suffix in _TEXTS or name.upper().startswith(("LICENSE", "LICENCE", "NOTICE"))


def _is_safe(path: str) -> bool:
    """A source's paths become paths of this machine."""
    return len(path) <= 512 and all(_PART.fullmatch(part) for part in path.split("/"))
