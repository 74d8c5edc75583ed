"""What callers saw: every call they made, and how it ended for them. The judge believes nothing else about them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Seen(StrEnum):
    """How a call ended for its caller."""

    OK = "ok"  # an answer that says what happened
    REFUSED = "refused"  # an answer that says nothing was done
    UNKNOWN = "unknown"  # no answer, so it may have been done or not


@dataclass(frozen=True)
class Call:
    """One call over HTTP."""

    act: str
    owner: str
    began: float  # Unix seconds
    seconds: float
    seen: Seen
    status: int = 0
    job: str = ""
    code: str = ""  # of a problem
    retry_after: str = ""
    replayed: bool = False


class Ledger:
    """All calls of all callers, in the order of their ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    def write(self, call: Call) -> None:
        with self._lock:
            self._calls.append(call)

    def calls(self, act: str | None = None) -> list[Call]:
        with self._lock:
            return [call for call in self._calls if act in {None, call.act}]

    def accepted(self) -> dict[str, str]:
        """Owner of each job that a caller was promised."""
        return {call.job: call.owner for call in self.calls("submit") if call.seen is Seen.OK}

    def statuses(self) -> dict[str, int]:
        """How many calls got which HTTP status; 0 stands for no answer."""
        return {str(status): count for status, count in sorted(Counter(call.status for call in self.calls()).items())}

    def answered(self, status: int) -> Iterator[Call]:
        return (call for call in self.calls() if call.status == status)
