"""The `darkroom` command: one verb a file, put together here.

Errors are sentences; exit code 2 means that something has to be put right before the command can work.
"""

from __future__ import annotations

import sys

import typer

from cli import audit, backup, jobs, keys, models, owners, policies, queue, references, takedown, webhooks
from cli.adapters import adapters
from cli.console import say
from cli.demo import demo
from cli.doctor.command import doctor
from cli.generate import generate
from cli.plan import plan
from cli.replay import replay
from cli.top import top
from cli.up import up
from cli.usage import usage
from cli.verify import verify
from darkroom import __version__
from darkroom.errors import DarkroomError

app = typer.Typer(
    name="darkroom",
    help="Image generation as a service: run it, use it, manage it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(generate)
app.command()(adapters)
app.command()(demo)
app.command()(plan)
app.command()(doctor)
app.command()(top)
app.command()(usage)
app.command()(verify)
app.command()(replay)
app.command()(takedown.takedown)
app.add_typer(audit.app, name="audit")
app.add_typer(backup.app, name="backup")
app.add_typer(takedown.app, name="hold")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(owners.app, name="owners")
app.add_typer(policies.app, name="policies")
app.add_typer(queue.app, name="queue")
app.add_typer(references.app, name="references")
app.add_typer(webhooks.app, name="webhooks")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command."""
    try:
        app()
    except DarkroomError as error:
        say(f"darkroom: {error.detail}")
        sys.exit(2)
