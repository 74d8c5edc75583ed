"""`darkroom up`: the whole service on this machine, supervised, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import redis
import typer

from cli.child import Service, ServiceFailed
from cli.console import say
from cli.data_folder import DEFAULT, DataFolder, Session
from cli.services import DEFAULT_CATALOGUE, Place, api, delivery, free_port, metrics_of, require_free, valkey, worker
from cli.supervisor import Stopped, Supervisor
from darkroom.catalogue import load_catalogue
from darkroom.keys import KeyStore

OWNER = "local"
KEY_NAME = "darkroom up"


def up(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the API on loopback; 0 takes a free one.")
    ] = 8000,
    data: Annotated[Path, typer.Option(help="Folder for jobs, images and logs.")] = DEFAULT,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line once it is ready.")] = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    folder = DataFolder(data)
    folder.prepare()
    with folder.held():
        place = _place(folder, port)
        run(place, workers=workers, as_json=as_json)


def run(place: Place, *, workers: int, as_json: bool) -> None:
    """Start everything, say where it is, keep it up."""
    say(f"Starting Darkroom on {place.folder.root} ...")
    supervisor = Supervisor(say=say, on_pids=lambda pids: _publish(place, token, pids))
    with supervisor.signals():
        try:
            supervisor.start([valkey(place)])
            token = fresh_key(place.redis_url)
            everyone = [api(place), delivery(place), *(worker(place, number) for number in range(1, workers + 1))]
            supervisor.start(everyone)
            _publish(place, token, supervisor.pids)
            if as_json:
                print(json.dumps({"url": place.url, "api_key": token, "pids": supervisor.pids}), flush=True)
            else:
                print(banner(place, token, everyone), flush=True)
            supervisor.watch()
        except Stopped:
            pass
        except ServiceFailed as error:
            say(error.detail)
            raise typer.Exit(1) from None
        say("Stopping: running jobs get a moment to finish, others wait for the next start. (Ctrl-C again: at once.)")
    say("Stopped.")


def fresh_key(redis_url: str) -> str:
    """A new key for the owner `local`; the one of the start before stops working."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = KeyStore(client)
        for old in keys.list(OWNER):
            if old.name == KEY_NAME:
                keys.revoke(old.id)
        return keys.create(OWNER, KEY_NAME).token


def _place(folder: DataFolder, port: int) -> Place:
    """Check what can be checked before anything starts: the port, the catalogue."""
    require_free(port)
    catalogue = Path(os.environ.get("DARKROOM_CATALOGUE") or DEFAULT_CATALOGUE).absolute()
    load_catalogue(catalogue)
    return Place(folder=folder, port=port or free_port(), redis_port=free_port(), catalogue=catalogue)


def _publish(place: Place, token: str, pids: Mapping[str, int]) -> None:
    """Tell the other commands where the service is. It runs on without that, when the disk is full for instance."""
    try:
        place.folder.write_session(Session(url=place.url, api_key=token, redis_url=place.redis_url, pids=pids))
    except OSError as error:
        say(f"The session file can't be written ({error.strerror}): other commands need --url and --api-key.")


def banner(place: Place, token: str, services: Sequence[Service]) -> str:
    """What people read once everything is up."""
    served = [(service.name, url) for service in services if (url := metrics_of(place, service))]
    metrics = "\n                   ".join(f"{url} ({name})" for name, url in served) or "none"
    root = place.folder.root
    elsewhere = "" if root == DEFAULT.absolute() else f" --data {shlex.quote(str(root))}"
    return (
        f"\n  Darkroom runs at {place.url}   (interactive API: {place.url}/docs)\n"
        f"  API key          {token}\n"
        f"  Metrics          {metrics}\n"
        f"  Logs             {place.folder.logs}\n\n"
        f'  Try: {command()} generate "a red circle on a blue background" -o out.png{elsewhere}\n'
        f"  Ctrl-C stops everything; the next start on this folder finds jobs and images again.\n"
    )


def command() -> str:
    """How a shell in this folder calls this command."""
    if shutil.which("darkroom"):
        return "darkroom"
    beside = Path(sys.executable).parent / "darkroom"
    if not beside.exists():
        return f"{shlex.quote(sys.executable)} -m cli"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
