"""The folder that `darkroom up` keeps everything in, and what must hold before it may be used.

Jobs and keys (Valkey's files), images, logs, its secrets and, while it runs, a session file that tells other commands
where the service is. One `up` at a time may hold a folder; the kernel drops the hold with the process that has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from darkroom.errors import ConfigurationError
from safety.provenance.credentials import is_usable, make_credentials

DEFAULT = Path("darkroom-data")
NEEDED_BYTES = 200_000_000
SESSION = "session.json"


@dataclass(frozen=True)
class Session:
    """A running service, as `session.json` tells it to the other commands."""

    url: str
    api_key: str
    redis_url: str
    pids: Mapping[str, int]

    def __repr__(self) -> str:
        return f"Session(url={self.url!r})"


class DataFolder:
    """One data folder; `prepare` before anything else."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.objects = self.root / "objects"
        self.valkey = self.root / "valkey"
        self.logs = self.root / "logs"

    def prepare(self, *, needed_bytes: int = NEEDED_BYTES) -> None:
        """Make the folders, for this user alone.

        Raises:
            ConfigurationError: the folder can't be written, or its disk is nearly full.
        """
        try:
            for folder in (self.root, self.objects, self.valkey, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.root / ".write-test"
            probe.write_bytes(b"0")
            probe.unlink()
        except OSError as error:
            reason = error.strerror or "it refuses files"
            raise ConfigurationError(
                f"The folder {self.root} can't be written ({reason}). Choose another with --data."
            ) from None
        free = shutil.disk_usage(self.root).free
        if free < needed_bytes:
            raise ConfigurationError(
                f"The disk of {self.root} has {free // 1_000_000} MB left, and Darkroom wants at least "
                f"{needed_bytes // 1_000_000} MB. Free some space, or choose another folder with --data."
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder against a second `up`.

        Raises:
            ConfigurationError: another one holds it.
        """
        with (self.root / "up.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                running = self.session()
                where = f" at {running.url}" if running else ""
                raise ConfigurationError(
                    f"Darkroom already runs on {self.root}{where}. Stop it first, or choose another folder with --data."
                ) from None
            try:
                yield
            finally:
                (self.root / SESSION).unlink(missing_ok=True)

    def secret(self, name: str) -> str:
        """The folder's own secret of that name: drawn once, readable by this user alone."""
        path = self.root / f"{name}.secret"
        if not path.exists() or not path.read_text():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    def seal_keys(self) -> Path:
        """The file of keys that seal prompts: made with one key; the operator may add others."""
        self.secret("seal")
        return self.root / "seal.secret"

    def credentials(self) -> Path:
        """The folder of the certificate that signs images: made once, and anew before it runs out."""
        folder = self.root / "c2pa"
        if not is_usable(folder):
            make_credentials(folder, organisation="Darkroom on this machine")
        return folder

    def write_session(self, session: Session) -> None:
        write_private(self.root / SESSION, json.dumps(asdict(session)))

    def session(self) -> Session | None:
        """The service that runs on this folder, or None."""
        try:
            return Session(**json.loads((self.root / SESSION).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read, all of it or nothing."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
