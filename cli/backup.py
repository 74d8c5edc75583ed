"""`darkroom backup`: jobs, keys and images of a service into a folder, and out of it into empty stores.

Records come first, as one snapshot over the replication protocol; files after them. So every file that a record of
the snapshot names is saved, unless it was deleted in between. The keys that seal prompts are not in it: a copy of the
backup alone tells nobody a prompt.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import redis
import typer

from cli.connection import Data
from cli.console import say
from cli.data_folder import DEFAULT
from cli.stores import stores
from darkroom.audit_segments import PLACE as AUDIT
from darkroom.errors import ConfigurationError, ObjectNotFound
from darkroom.object_store import ObjectStore
from darkroom.object_store.keys import content_type_of

app = typer.Typer(help="Save a service's jobs and images, and bring them back.", no_args_is_help=True)
RECORDS, FILES, SUMMARY = "records.rdb", "files", "backup.json"
APPEND_FOLDER, BASE = "appendonlydir", "appendonly.aof.1.base.rdb"
PLACES = ("outputs/", "review/", "inputs/", AUDIT)
PAGE = 1_000
CHUNK = 1 << 20
SYNC_SECONDS = 600.0  # a server with much to save is silent until it has forked and written


@dataclass(frozen=True)
class Summary:
    """What a backup holds."""

    taken_at: float
    records_sha256: str
    records_bytes: int
    files: int


@app.command()
def save(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    *,
    data: Data = DEFAULT,
) -> None:
    """Save everything but the secrets; the service goes on meanwhile."""
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already: a backup wants a folder of its own.")
    folder.mkdir(mode=0o700, parents=True)
    taken_at = time.time()
    with stores(data) as place:
        digest = save_records(place.redis, folder / RECORDS)
        files = save_files(place.objects, folder / FILES)
    summary = Summary(taken_at, digest, (folder / RECORDS).stat().st_size, files)
    (folder / SUMMARY).write_text(json.dumps(asdict(summary), indent=1) + "\n", encoding="utf-8")
    say(f"Saved {summary.records_bytes:,} bytes of records and {files:,} files. Keep the secret file too, apart.")


@app.command()
def records(
    folder: Annotated[Path, typer.Argument(help="The backup.")],
    server: Annotated[Path, typer.Argument(help="The empty data folder of a Valkey or Redis that is not running.")],
) -> None:
    """Lay the records out for a server to start with; it must have `appendonly yes`."""
    source, summary = folder / RECORDS, _summary(folder)
    if _digest(source) != summary.records_sha256:
        raise ConfigurationError(f"{source} is not what was saved: its checksum differs.")
    if server.exists() and any(server.iterdir()):
        raise ConfigurationError(f"{server} is not empty. Records are never put over others.")
    place = server / APPEND_FOLDER
    place.mkdir(mode=0o700, parents=True)
    # A server with an append-only file reads no dump.rdb, so the snapshot becomes that file's base.
    (place / BASE).write_bytes(source.read_bytes())
    (place / "appendonly.aof.manifest").write_text(f"file {BASE} seq 1 type b\n", encoding="ascii")
    say(f"Start the server on {server} now, then bring the files back.")


@app.command()
def files(folder: Annotated[Path, typer.Argument(help="The backup.")], *, data: Data = DEFAULT) -> None:
    """Put the files back into the object store; those that are there are written again."""
    wanted = _summary(folder).files
    with stores(data) as place:
        count = restore_files(folder / FILES, place.objects)
    if count != wanted:
        raise ConfigurationError(f"The backup has {count:,} files, but {wanted:,} were saved.")
    say(f"{count:,} files are back.")


def save_records(client: redis.Redis, target: Path) -> str:
    """Ask for a snapshot as a replica does; returns its SHA-256.

    Raises:
        ConfigurationError: the server refuses, as it does where the user may not `SYNC`.
    """
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.send_command("SYNC")
        wire: socket.socket = connection._sock  # noqa: SLF001 -- the reply is none that the client can parse
        wire.settimeout(SYNC_SECONDS)
        return _receive(wire, target)
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)


def save_files(objects: ObjectStore, folder: Path) -> int:
    """Copy every file; returns how many. One that was deleted meanwhile is left out."""
    folder.mkdir(mode=0o700)
    return sum(_save_file(objects, key, folder) for place in PLACES for key in _keys(objects, place))


def restore_files(folder: Path, objects: ObjectStore) -> int:
    count = 0
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        key = path.relative_to(folder).as_posix()
        objects.put(key, path.read_bytes(), content_type_of(key))
        count += 1
    return count


def _keys(objects: ObjectStore, place: str) -> Iterator[str]:
    after = ""
    while page := objects.list_files(place, after=after, limit=PAGE):
        yield from (file.key for file in page)
        after = page[-1].key


def _save_file(objects: ObjectStore, key: str, folder: Path) -> bool:
    try:
        content = objects.get(key)
    except ObjectNotFound:
        return False
    target = folder / key
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.write_bytes(content)
    return True


def _receive(wire: socket.socket, target: Path) -> str:
    head = b""
    while not head.endswith(b"\n") or not head.strip():  # bare newlines say that the snapshot is being made
        byte = wire.recv(1)
        if not byte:
            raise ConfigurationError("The server ended the connection instead of sending its records.")
        head += byte
    if not head.strip().startswith(b"$"):
        raise ConfigurationError("The server gives its records to nobody but a user that may run SYNC.")
    left, digest = int(head.strip()[1:]), hashlib.sha256()
    with target.open("xb") as file:
        while left:
            chunk = wire.recv(min(left, CHUNK))
            if not chunk:
                raise ConfigurationError("The server ended the connection before all records had come.")
            left -= len(chunk)
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _summary(folder: Path) -> Summary:
    try:
        return Summary(**json.loads((folder / SUMMARY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise ConfigurationError(f"{folder} is no finished backup: it has no {SUMMARY} that can be read.") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
