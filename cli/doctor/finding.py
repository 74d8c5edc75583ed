"""What a check says: the state of one thing, and the way to mend it where it is not in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARNING = "warning"  #: the service runs; somebody should look at it
    FAILED = "failed"  #: the service does not run like this, or loses something
    SKIPPED = "skipped"  #: not looked at, and why


@dataclass(frozen=True)
class Finding:
    """One thing. `fix` is a sentence, empty where nothing is to be done."""

    check: str
    state: State
    said: str
    fix: str = ""


@dataclass(frozen=True)
class Verdict:
    """A finding before it has its check's name."""

    state: State
    said: str
    fix: str = ""


def fine(said: str) -> Verdict:
    return Verdict(State.OK, said)


def warning(said: str, fix: str) -> Verdict:
    return Verdict(State.WARNING, said, fix)


def failed(said: str, fix: str) -> Verdict:
    return Verdict(State.FAILED, said, fix)


def skipped(said: str) -> Verdict:
    return Verdict(State.SKIPPED, said)
