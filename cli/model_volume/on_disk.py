"""A model that is brought along: a folder, or a tar archive of one."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from cli.model_volume.offer import INDEX, Offer, OfferedFile
from darkroom.errors import ConfigurationError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz")
_CHUNK = 1 << 20
_UNSTATED = "not stated"


class FolderModel:
    """A folder in diffusers' format."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def offer(self) -> Offer:
        paths = sorted(path for path in self._folder.rglob("*") if path.is_file())
        files = (OfferedFile(path.relative_to(self._folder).as_posix(), path.stat().st_size) for path in paths)
        return Offer(origin=self._folder.resolve().name, revision="", licence=_UNSTATED, files=tuple(files))

    def read(self, file: OfferedFile, *, start: int) -> Iterator[bytes]:
        with (self._folder / file.path).open("rb") as opened:
            yield from _chunks(opened, start)


class ArchiveModel:
    """A tar archive with such a folder in it, at its top or one level below. Only plain files are looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, str] = {}  # path in the model -> name in the archive

    def offer(self) -> Offer:
        with self._opened() as archive:
            found = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        index = min((name for name in found if PurePosixPath(name).name == INDEX), key=len, default=INDEX)
        top = index.removesuffix(INDEX)
        self._members = {name.removeprefix(top): member.name for name, member in found.items() if name.startswith(top)}
        files = (OfferedFile(name, found[f"{top}{name}"].size) for name in sorted(self._members))
        return Offer(origin=self._path.name, revision="", licence=_UNSTATED, files=tuple(files))

    def read(self, file: OfferedFile, *, start: int) -> Iterator[bytes]:
        with self._opened() as archive:
            opened = archive.extractfile(self._members[file.path])
            assert opened is not None, "only plain files are offered"
            with opened:
                yield from _chunks(opened, start)

    def _opened(self) -> tarfile.TarFile:
        try:
            return tarfile.open(self._path)
        except (OSError, tarfile.TarError):
            raise ConfigurationError(f"{self._path} can't be read as a tar archive") from None


def _chunks(opened: IO[bytes], start: int) -> Iterator[bytes]:
    opened.seek(start)
    while chunk := opened.read(_CHUNK):
        yield chunk
