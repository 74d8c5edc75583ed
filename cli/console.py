"""What the command says to people: on standard error, so that standard output stays for results."""

from __future__ import annotations

import sys


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
