"""`darkroom jobs`: the jobs of all owners, for operators: listed, looked at, cancelled, given back to the queue."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Column, Table

from cli.connection import Data
from cli.console import results, say
from cli.data_folder import DEFAULT
from cli.stores import redis_of, stores
from darkroom.errors import ConfigurationError
from darkroom.job_desk import Filter, JobDesk
from darkroom.job_desk import list_jobs as jobs_that_pass
from darkroom.jobs import JobStatus, Tier
from darkroom.keys import person_name

app = typer.Typer(no_args_is_help=True, help="List, look at, cancel and requeue the jobs of all owners.")
JobId = Annotated[str, typer.Argument(help="The job's id.")]
Person = Annotated[str, typer.Option(help="Who does this; it stands in the audit log.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
WIDE = 120  # characters of a line from which on there is room for more columns


@app.command("list")
def list_jobs(
    *,
    status: Annotated[JobStatus | None, typer.Option(help="Only these.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="Only of this tier.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most lines.")] = 50,
    as_json: Json = False,
    data: Data = DEFAULT,
) -> None:
    """List jobs whose records are in Redis: those that wait and run first, then those that ended."""
    with redis_of(data) as client:
        found = jobs_that_pass(client, Filter(status, owner, tier, model), limit=limit)
    if as_json:
        print(json.dumps(found))
        return
    console = results()
    wide = console.width >= WIDE
    table = Table(Column("job", no_wrap=True), "owner", "status", "tier", "steps", "age", box=box.SIMPLE)
    for name in ("model", "attempt", "worker") if wide else ():
        table.add_column(name)
    for job in found:
        more = (job["model"], str(job.get("attempt", 0)), job.get("worker", "")) if wide else ()
        table.add_row(
            job["id"],
            job["owner"],
            " ".join(filter(None, (job["status"], job.get("error")))),
            job["tier"],
            f"{job.get('step', 0)}/{job['steps']}" if job.get("steps") else "-",
            f"{time.time() - job['created_at']:.0f} s",
            *more,
        )
    console.print(table)


@app.command()
def show(
    job: JobId,
    *,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Show the prompts too; needs --person and --reason.")
    ] = False,
    person: Annotated[str | None, typer.Option(help="Who reads the prompts; it stands in the audit log.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; likewise.")] = None,
    as_json: Json = False,
    data: Data = DEFAULT,
) -> None:
    """Show what a job's record says, without its prompts."""
    if prompt and not (person and reason):
        raise typer.BadParameter("--prompt needs --person and --reason: reading prompts stands in the audit log")
    with _desk(data) as desk:
        said = desk.show(job)
        if prompt:
            texts = desk.read_texts(job, person=_name(person), reason=reason or "")
            said |= {"prompt": texts.prompt, "negative_prompt": texts.negative_prompt}
    if as_json:
        print(json.dumps(said))
        return
    for name, value in said.items():
        print(f"{name}: {_shown(name, value)}")


@app.command()
def cancel(job: JobId, *, person: Person, data: Data = DEFAULT) -> None:
    """Cancel a job that waits or runs."""
    with _desk(data) as desk:
        status = desk.cancel(job, person=_name(person))
    say(f"{job} is {status}." if status is JobStatus.CANCELLED else f"{job} stops within its next steps.")


@app.command()
def requeue(job: JobId, *, person: Person, data: Data = DEFAULT) -> None:
    """Take a running job from its worker and queue it again, or let a delayed one be claimed at once."""
    with _desk(data) as desk:
        status = desk.requeue(job, person=_name(person))
    say(f"{job} is {status}.")


@contextmanager
def _desk(data: Path) -> Iterator[JobDesk]:
    with stores(data) as found:
        yield JobDesk(found.redis, found.objects, found.sealer)


def _name(person: str | None) -> str:
    name = person_name(person) if person else None
    if name is None:
        raise ConfigurationError("--person must be a name")
    return name


def _shown(name: str, value: Any) -> str:
    if isinstance(value, float) and name.endswith(("_at", "_until", "not_before")):
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(value))
    return str(value)
