"""`darkroom keys`: make, list, rotate and revoke API keys, straight in the store that holds them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.table import Column, Table

from cli.connection import Data
from cli.console import results, say
from cli.data_folder import DEFAULT
from cli.stores import redis_of
from darkroom.audit import AuditLog
from darkroom.keys import DEFAULT_SCOPES, ApiKey, KeyStore, Scope, person_name
from darkroom.near_misses import NearMisses
from darkroom.settings import SafetySettings
from safety.provenance.credentials import CA_KEY_FILE, KEY_FILE, make_credentials

app = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke API keys.")
HOUR, DAY = 3_600, 86_400


@app.command()
def create(
    owner: Annotated[str, typer.Argument(help="The tenant whose jobs the key may make and see.")],
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; repeat for several.")] = None,
    person: Annotated[str | None, typer.Option(help="Who holds it; two keys of one person count as one.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="How long it works; default: until revoked.")] = None,
    data: Data = DEFAULT,
) -> None:
    """Make a key and print it, this once."""
    with _store(data) as keys:
        expires_at = None if days is None else time.time() + days * DAY
        new = keys.create(owner, name, scope or DEFAULT_SCOPES, expires_at, person)
    print(new.token)
    say(f"Key {new.key.id} for {owner}. Keep it now: it is not shown again.")


@app.command("list")
def list_keys(
    owner: Annotated[str | None, typer.Argument(help="Only this owner's.")] = None, *, data: Data = DEFAULT
) -> None:
    """List the keys, without their secrets."""
    with _store(data) as keys:
        rows = keys.list(owner)
    table = Table(Column("id", no_wrap=True), "owner", "name", "person", "scopes", "expires", "last used")
    for key in rows:
        table.add_row(key.id, key.owner, key.name, key.person or "", *_details(key))
    results().print(table)


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(help="The id that `list` shows.")],
    *,
    overlap: Annotated[float, typer.Option(min=0, help="Hours that the old secret works on.")] = 24,
    data: Data = DEFAULT,
) -> None:
    """Give a key a new secret and print it, this once; owner, scopes and expiry stay."""
    with _store(data) as keys:
        new = keys.rotate(key_id, overlap_seconds=overlap * HOUR)
    if new is None:
        say(f"There is no key {key_id}.")
        raise typer.Exit(1)
    print(new.token)
    say(f"Key {key_id} has a new secret. Keep it now: it is not shown again. The old one works for {overlap:g} hours.")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The id that `list` shows.")], *, data: Data = DEFAULT) -> None:
    """Stop a key from working, at once."""
    with _store(data) as keys:
        revoked = keys.revoke(key_id)
    say(f"Key {key_id} is revoked." if revoked else f"There is no key {key_id}.")
    raise typer.Exit(0 if revoked else 1)


@app.command()
def held(*, data: Data = DEFAULT) -> None:
    """List the keys that are held because their prompts were refused again and again."""
    with redis_of(data) as client:
        owners = {key.id: key.owner for key in KeyStore(client).list(None)}
        rows = sorted(_near_misses(client).held().items(), key=lambda row: row[1])
    table = Table(Column("id", no_wrap=True), "owner", "since")
    for key_id, since in rows:
        table.add_row(key_id, owners.get(key_id, ""), _moment(since))
    results().print(table)


@app.command()
def release(
    key_id: Annotated[str, typer.Argument(help="The id that `held` shows.")],
    *,
    person: Annotated[str, typer.Option(help="Who does this; it stands in the audit log.")],
    data: Data = DEFAULT,
) -> None:
    """Let a held key make jobs again, and forget what was refused."""
    name = person_name(person) or ""
    with redis_of(data) as client:
        released = _near_misses(client).release(key_id)
        if released:
            AuditLog(client).append(name, "key.released", key_id)
    say(f"Key {key_id} is released." if released else f"Key {key_id} is not held.")
    raise typer.Exit(0 if released else 1)


@app.command()
def c2pa(
    folder: Annotated[Path, typer.Argument(help="Folder for the certificate and its keys; made if missing.")],
    *,
    organisation: Annotated[str, typer.Option(help="Whom the certificate names.")] = "Darkroom",
) -> None:
    """Make the certificate that signs images; an authority that lies in the folder signs it."""
    certificate = make_credentials(folder, organisation=organisation)
    print(f"DARKROOM_C2PA_CERT_FILE={certificate.absolute()}")
    print(f"DARKROOM_C2PA_KEY_FILE={(folder / KEY_FILE).absolute()}")
    say(f"Keep {CA_KEY_FILE} away from the service: it signs the next certificate, and no worker needs it.")


@contextmanager
def _store(data: Path) -> Iterator[KeyStore]:
    with redis_of(data) as client:
        yield KeyStore(client)


def _near_misses(client: redis.Redis) -> NearMisses:
    return NearMisses(client, SafetySettings.from_env())


def _details(key: ApiKey) -> tuple[str, str, str]:
    return " ".join(sorted(key.scopes)), _moment(key.expires_at) or "never", _moment(key.last_used_at) or "never"


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
