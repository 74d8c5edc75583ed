"""What the command says to people: sentences on standard error, so that standard output stays for results."""

from __future__ import annotations

import sys

from rich.console import Console

UNCUT = 1_000  # characters of a line where no terminal sets a limit: what reads a pipe or a file wants whole cells


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def results() -> Console:
    """Where tables of results go: as wide as the terminal, and not cut where there is none."""
    return Console(width=None if sys.stdout.isatty() else UNCUT)
