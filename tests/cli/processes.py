"""Watching real processes: is one alive, wait until it is not, wait for a fact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def still_alive(pids: Iterable[int], *, within: float) -> list[int]:
    """Those that have not ended in time."""
    pids = list(pids)
    eventually(lambda: not any(map(is_alive, pids)), within=within)
    return [pid for pid in pids if is_alive(pid)]


def eventually(fact: Callable[[], bool], *, within: float) -> bool:
    deadline = time.monotonic() + within
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def descendants(pid: int) -> set[int]:
    """The process and all it has started, directly or not."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(folder.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found
