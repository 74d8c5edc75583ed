"""`darkroom owners`: what each owner has waiting and running; suspends and resumes them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from cli.connection import Data
from cli.console import results, say
from cli.data_folder import DEFAULT
from cli.queue import queue_control
from darkroom.owners import Owners
from darkroom.settings import OwnersSettings

app = typer.Typer(no_args_is_help=True, help="List, suspend and resume owners.")
Owner = Annotated[str, typer.Argument(help="The owner's name, as their keys say it.")]


@app.command("list")
def list_owners(*, data: Data = DEFAULT) -> None:
    """List the owners of DARKROOM_OWNERS_FILE, and those with jobs that wait or run."""
    owners = Owners.from_settings(OwnersSettings.from_env())
    table = Table("owner", "weight", "waiting", "running", "state")
    with queue_control(data) as control:
        suspended = control.suspended()
        for name in sorted({*owners.names(), *control.owners_at_work(), *suspended}):
            state = "suspended" if name in suspended else "active"
            waiting, running = control.waiting(name), control.running(name)
            table.add_row(name, f"{owners.of(name).weight:g}", str(waiting), str(running), state)
    results().print(table)


@app.command()
def show(owner: Owner, *, data: Data = DEFAULT) -> None:
    """Show an owner's terms and jobs."""
    terms = Owners.from_settings(OwnersSettings.from_env()).of(owner)
    with queue_control(data) as control:
        print(f"state: {'suspended' if owner in control.suspended() else 'active'}")
        print(f"waiting: {control.waiting(owner)}")
        print(f"running: {control.running(owner)}")
    for name, value in terms.model_dump().items():
        print(f"{name}: {'no cap' if value is None else value}")


@app.command()
def suspend(owner: Owner, *, data: Data = DEFAULT) -> None:
    """Take no job of the owner and start none; those that wait stay, those that run end."""
    with queue_control(data) as control:
        control.suspend(owner)
    say(f"{owner} is suspended.")


@app.command()
def resume(owner: Owner, *, data: Data = DEFAULT) -> None:
    """Take and start the owner's jobs again."""
    with queue_control(data) as control:
        control.resume(owner)
    say(f"{owner} is active.")
