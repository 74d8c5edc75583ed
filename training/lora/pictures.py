"""The captioned pictures that a LoRA learns from: a folder of them, or the painter's in some style.

A folder holds pictures with a text file of the same name beside each, or a `metadata.jsonl` with `file_name` and `text`
a line. All faults of a folder are found before anything is trained. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from darkroom.errors import ConfigurationError
from training.dataset import SEED_STRIDE
from training.styles import styled_pair

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
METADATA = "metadata.jsonl"

CaptionedPicture = tuple[Image.Image, str]


@dataclass(frozen=True)
class FolderPictures:
    """The pictures of one folder, in the order of their names, cut to a square from their middle."""

    entries: tuple[tuple[Path, str], ...]
    trigger: str = ""

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, size: int) -> Iterator[CaptionedPicture]:
        """Each picture at size x size pixels, with its caption.

        Raises:
            ConfigurationError: naming a file that is no picture.
        """
        for path, caption in self.entries:
            yield _picture(path, size), f"{self.trigger}, {caption}" if self.trigger else caption


@dataclass(frozen=True)
class StyledPictures:
    """Painted pictures in a style that their captions do not name."""

    style: str
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def read(self, size: int) -> Iterator[CaptionedPicture]:
        """Each picture at size x size pixels, with its caption."""
        for index in range(self.count):
            yield styled_pair(self.style, self.seed * SEED_STRIDE + index, size)


Pictures = FolderPictures | StyledPictures


def open_folder(folder: Path, *, trigger: str = "") -> FolderPictures:
    """Find the folder's pictures and captions; with a trigger, every caption begins with it.

    Raises:
        ConfigurationError: with one sentence that says what is wrong with the folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder")
    entries = _listed(folder) if (folder / METADATA).is_file() else _paired(folder)
    if not entries:
        raise ConfigurationError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return FolderPictures(tuple(entries), trigger)


def _paired(folder: Path) -> list[tuple[Path, str]]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return [(path, _caption_beside(path)) for path in paths]


def _caption_beside(path: Path) -> str:
    beside = path.with_suffix(".txt")
    try:
        caption = " ".join(beside.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        raise ConfigurationError(f"{path} has no caption: {beside.name} is missing") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{beside} is not UTF-8 text") from None
    if not caption:
        raise ConfigurationError(f"{beside} is empty")
    return caption


def _listed(folder: Path) -> list[tuple[Path, str]]:
    listing = folder / METADATA
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{listing} is not UTF-8 text") from None
    entries = [_listed_entry(folder, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return sorted(entries)


def _listed_entry(folder: Path, number: int, line: str) -> tuple[Path, str]:
    where = f"{folder / METADATA}, line {number}"
    try:
        entry: Any = json.loads(line)
        name, text = entry["file_name"], entry["text"]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f'{where}: must be {{"file_name": ..., "text": ...}}') from None
    if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
        raise ConfigurationError(f"{where}: file_name and text must be texts, and not empty")
    path = folder / name
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{where}: {name} is no file of this folder")
    return path, " ".join(text.split())


def _picture(path: Path, size: int) -> Image.Image:
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ConfigurationError(f"{path} can't be read as a picture: {error}") from error
    return ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
