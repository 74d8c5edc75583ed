"""The models of one folder: brought there whole or not at all, with the digest of every file, and checked against it.

A model is filled beside its place, in a hidden folder that a broken-off attempt leaves for the next one to go on with.
`SHA256SUMS` has the form that `sha256sum -c` reads; `source.json` says where the model came from.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import ServiceRefused, ServiceUnreachable
from cli.model_volume.offer import OURS, CannotResume, Offer, OfferedFile, Source
from darkroom.errors import ConfigurationError

SUMS, ORIGIN = "SHA256SUMS", "source.json"
TRIES = 5  # for one file, each going on where the last one ended
SPARE_BYTES = 500_000_000
_PARTIAL = ".partial-"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")
Progress = Callable[[int], None]  # bytes done since the last call


@dataclass(frozen=True)
class StoredModel:
    """A model that lies in the folder."""

    name: str
    folder: Path
    complete: bool
    origin: str
    revision: str
    licence: str
    size: int


@dataclass(frozen=True)
class Difference:
    """A file that is not what it was."""

    path: str
    what: str  # missing, changed or added


class ModelVolume:
    """The folder."""

    def __init__(self, root: Path, *, pause_seconds: float = 1.0) -> None:
        """`pause_seconds` stands between two tries, and doubles."""
        self._root = root
        self._pause_seconds = pause_seconds

    def models(self) -> list[StoredModel]:
        """Those that lie there, those that broke off too, by name."""
        if not self._root.is_dir():
            return []
        folders = (folder for folder in sorted(self._root.iterdir()) if folder.is_dir())
        found = (_stored(folder) for folder in folders if _is_model(folder))
        return sorted(found, key=lambda model: model.name)

    def missing_bytes(self, name: str, offer: Offer) -> int:
        """What is still to be fetched of the offer."""
        partial = self._partial(name)
        if _origin(partial) != _as_json(offer):
            return offer.size
        there = sum(max(_size(partial / file.place), _size(_part(partial, file))) for file in offer.files)
        return max(offer.size - there, 0)

    def require_room(self, name: str, offer: Offer) -> None:
        """Raise `ConfigurationError` where the name is taken or illegal, or the disk too small."""
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "a model's name has 1 to 64 small letters, digits and . _ -; choose one with --name"
            )
        if (self._root / name).exists():
            raise ConfigurationError(f"{self._root / name} is there already: choose another --name, or remove it")
        self._root.mkdir(parents=True, exist_ok=True)
        free, wanted = shutil.disk_usage(self._root).free, self.missing_bytes(name, offer) + SPARE_BYTES
        if free < wanted:
            raise ConfigurationError(
                f"the disk of {self._root} has {free / 1e9:.1f} GB left, and {wanted / 1e9:.1f} GB are needed"
            )

    def fetch(self, name: str, offer: Offer, source: Source, *, progress: Progress) -> Path:
        """Bring the offered files here; gives the model's folder.

        Raises:
            ServiceRefused: a file is not what its digest says, or not to be had.
            ServiceUnreachable: the source broke off too often; the next call goes on from there.
        """
        partial = self._begin(name, offer)
        sums = [(self._fetch_file(file, source, partial, progress), file.place) for file in offer.files]
        (partial / SUMS).write_text("".join(f"{digest}  {place}\n" for digest, place in sums), encoding="utf-8")
        folder = self._root / name
        partial.rename(folder)
        return folder

    def verify(self, name: str, *, progress: Progress) -> list[Difference]:
        """Read every file again; empty where all are as they came.

        Raises:
            ConfigurationError: there is no such model, or it has no digests.
        """
        folder = self._root / name
        try:
            lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        except OSError:
            raise ConfigurationError(f"{folder} has no {SUMS} to compare its files with") from None
        sums = {match[2]: match[1] for line in lines if (match := _SUM.fullmatch(line))}
        if len(sums) != len(lines) or not sums:
            raise ConfigurationError(f"{folder / SUMS} is damaged")
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - OURS
        differences = [Difference(path, "added") for path in there - sums.keys()]
        for path, digest in sums.items():
            if path not in there:
                differences.append(Difference(path, "missing"))
            elif _sha256(folder / path, progress) != digest:
                differences.append(Difference(path, "changed"))
        return sorted(differences, key=lambda difference: difference.path)

    def _partial(self, name: str) -> Path:
        return self._root / f"{_PARTIAL}{name}"

    def _begin(self, name: str, offer: Offer) -> Path:
        """The hidden folder, with what an earlier attempt at the same offer left in it."""
        partial = self._partial(name)
        if partial.exists() and _origin(partial) != _as_json(offer):
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / ORIGIN).write_text(json.dumps(_as_json(offer), indent=2), encoding="utf-8")
        return partial

    def _fetch_file(self, file: OfferedFile, source: Source, partial: Path, progress: Progress) -> str:
        place, part = partial / file.place, _part(partial, file)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():  # from the attempt before, checked when it became whole
            return _sha256(place, progress)
        progress(min(_size(part), file.size))
        for number in range(TRIES):
            try:
                self._append(file, source, part, progress)
                break
            except ServiceUnreachable:
                if number == TRIES - 1:
                    raise
                time.sleep(self._pause_seconds * 2**number)
        digest = _sha256(part, _nothing)
        if not _is_as_said(part, file, digest):
            part.unlink()
            raise ServiceRefused(f"{file.path} arrived damaged: it is not what its digest says. Try again.")
        part.rename(place)
        return digest

    def _append(self, file: OfferedFile, source: Source, part: Path, progress: Progress) -> None:
        """Go on with the file where it ends."""
        start = min(_size(part), file.size)
        try:
            if start < file.size or file.size == 0:
                _write(part, source.read(file, start=start), progress, mode="ab" if start else "wb")
        except CannotResume:
            progress(-start)
            _write(part, source.read(file, start=0), progress, mode="wb")
        if _size(part) < file.size:
            raise ServiceUnreachable(f"{file.path} broke off.")


def _write(path: Path, chunks: Iterator[bytes], progress: Progress, *, mode: str) -> None:
    with path.open(mode) as opened:
        for chunk in chunks:
            opened.write(chunk)
            progress(len(chunk))


def _is_as_said(path: Path, file: OfferedFile, sha256: str) -> bool:
    if path.stat().st_size != file.size or file.sha256 not in {None, sha256}:
        return False
    return file.git_sha1 is None or _git_sha1(path) == file.git_sha1


def _git_sha1(path: Path) -> str:
    """The name that git gives a file's content."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _sha256(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
            progress(len(chunk))
    return digest.hexdigest()


def _part(partial: Path, file: OfferedFile) -> Path:
    place = partial / file.place
    return place.with_name(f"{place.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _as_json(offer: Offer) -> dict[str, Any]:
    return {
        "origin": offer.origin,
        "revision": offer.revision,
        "licence": offer.licence,
        "files": {file.place: file.size for file in offer.files},
    }


def _origin(folder: Path) -> dict[str, Any] | None:
    try:
        said: dict[str, Any] = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said


def _is_model(folder: Path) -> bool:
    return folder.name.startswith(_PARTIAL) or (folder / "model_index.json").is_file()


def _stored(folder: Path) -> StoredModel:
    said = _origin(folder) or {}
    return StoredModel(
        name=folder.name.removeprefix(_PARTIAL),
        folder=folder,
        complete=not folder.name.startswith(_PARTIAL),
        origin=str(said.get("origin", "")),
        revision=str(said.get("revision", "")),
        licence=str(said.get("licence", "")),
        size=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def _nothing(_done: int) -> None:
    """These bytes were counted when they came."""
