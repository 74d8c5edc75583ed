"""Every command as the Markdown table that `docs/cli.md` ends with; a test holds the page and the commands equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer


def command_table(app: typer.Typer) -> str:
    """One row a command: how it is called, and the first sentence of its help."""
    rows = sorted(_rows(typer.main.get_command(app), "darkroom"))
    return "\n".join(["| command | does |", "|---|---|", *rows])


def _rows(command: Any, path: str) -> Iterator[str]:  # click's classes lie inside typer, without a public name
    inner = getattr(command, "commands", {})
    for name, entry in inner.items():
        yield from _rows(entry, f"{path} {name}")
    if not inner or command.invoke_without_command:
        said = " ".join((command.help or "").split("\n\n")[0].split())
        yield f"| `{path}` | {said} |"
