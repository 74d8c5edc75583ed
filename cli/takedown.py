"""`darkroom takedown` and `darkroom hold`: images taken down, jobs kept for the law, straight on the stores."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.table import Column, Table

from cli.connection import Data
from cli.console import results, say
from cli.data_folder import DEFAULT
from cli.stores import stores
from darkroom.keys import person_name
from darkroom.legal_hold import LegalHolds
from darkroom.takedown import Takedowns

app = typer.Typer(no_args_is_help=True, help="Keep jobs for the law: nothing of them is removed while a hold lasts.")
JobId = Annotated[str, typer.Argument(help="The job's id.")]
Person = Annotated[str, typer.Option(help="Who does this; it stands in the audit log.")]


def takedown(
    job: JobId,
    *,
    reason: Annotated[str, typer.Option(help="Kept in the audit log.")],
    person: Person,
    image: Annotated[list[int] | None, typer.Option(help="Index; repeat for several. Default: all images.")] = None,
    data: Data = DEFAULT,
) -> None:
    """Withhold released images, delete their files, and bar their looks from being made again."""
    with stores(data) as found:
        actor = person_name(person) or ""
        withheld = Takedowns(found.redis, found.objects).take_down(job, person=actor, reason=reason, images=image)
    say(f"Withheld of {job}: {', '.join(map(str, withheld))}.")


@app.command()
def place(
    job: JobId, *, reason: Annotated[str, typer.Option(help="Sealed.")], person: Person, data: Data = DEFAULT
) -> None:
    """Put a job under a legal hold."""
    with stores(data) as found:
        LegalHolds(found.redis, found.sealer).place(job, person=person_name(person) or "", reason=reason)
    say(f"{job} is held.")


@app.command()
def lift(job: JobId, *, person: Person, data: Data = DEFAULT) -> None:
    """End a legal hold; retention counts again from where it stood."""
    with stores(data) as found:
        lifted = LegalHolds(found.redis, found.sealer).lift(job, person=person_name(person) or "")
    say(f"{job} is not held any more." if lifted else f"There is no hold on {job}.")
    raise typer.Exit(0 if lifted else 1)


@app.command("list")
def list_holds(*, data: Data = DEFAULT) -> None:
    """List the holds, oldest first."""
    with stores(data) as found:
        holds = LegalHolds(found.redis, found.sealer).all()
    table = Table(Column("job", no_wrap=True), "by", "since", "reason")
    for hold in holds:
        table.add_row(hold.job_id, hold.by, time.strftime("%Y-%m-%d %H:%M", time.localtime(hold.at)), hold.reason)
    results().print(table)
