"""The command `darkroom doctor`: a table for people, JSON for scripts, an exit code for both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Column, Table

from cli.connection import Data
from cli.console import results
from cli.data_folder import DEFAULT
from cli.doctor.checks import examine
from cli.doctor.finding import Finding, State
from cli.doctor.place import DEFAULT_EGRESS, Place

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.SKIPPED: "dim"}


def doctor(
    *,
    data: Data = DEFAULT,
    egress: Annotated[
        str | None, typer.Option(help=f"HOST:PORT that webhooks must reach. Default: {DEFAULT_EGRESS}, as a hint only.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at GPU, disk, Redis, object store, clock, ports, files; say how to mend what is wrong. Exit code 1 if so."""
    found = examine(Place(data, egress))
    ill = any(finding.state is State.FAILED for finding in found)
    if as_json:
        print(json.dumps({"ok": not ill, "checks": [asdict(finding) for finding in found]}))
    else:
        _show(found)
    raise typer.Exit(1 if ill else 0)


def _show(found: Sequence[Finding]) -> None:
    table = Table(Column("check", no_wrap=True), Column("state", no_wrap=True), "finding")
    for finding in found:
        colour = _COLOURS[finding.state]
        said = f"{finding.said}\n-> {finding.fix}" if finding.fix else finding.said
        table.add_row(finding.check, f"[{colour}]{finding.state}[/]", said)
    results().print(table)
