"""`darkroom audit`: the audit log as lines of JSON, and whether its chain holds."""

from __future__ import annotations

import typer

from cli.connection import Data
from cli.console import say
from cli.data_folder import DEFAULT
from cli.stores import stores
from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.errors import AuditBroken

app = typer.Typer(no_args_is_help=True, help="Export the audit log, and verify its chain.")


@app.command()
def export(*, data: Data = DEFAULT) -> None:
    """Print every entry, oldest first, one line of JSON each."""
    with stores(data) as found:
        for entry in AuditSegments(AuditLog(found.redis), found.objects).entries():
            print(entry.as_json())


@app.command()
def verify(*, data: Data = DEFAULT) -> None:
    """Walk the whole log; exit code 1 and the first bad place where its chain does not hold."""
    with stores(data) as found:
        try:
            verified = AuditSegments(AuditLog(found.redis), found.objects).verify()
        except AuditBroken as error:
            say(error.detail)
            raise typer.Exit(1) from None
    print(f"{verified.entries} entries, the chain holds, head {verified.head}")
