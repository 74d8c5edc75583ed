"""Writes down in the workers what they claim and commit, one line each, for the judge.

Installed by the harness in worker processes. A line is one write to a file opened for appending, so that a kill leaves
whole lines, and lines of several processes do not mix.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.job_store import JobStore

VARIABLE = "WITNESS_FILE"


@dataclass(frozen=True)
class Seen:
    """One line: a claim, or a commit with the store's answer."""

    at: float  # Unix seconds
    pid: int
    act: str
    job: str
    attempt: int
    answer: str = ""
    status: str = ""
    seconds: float = 0.0  # that the claim took


def install() -> None:
    """Wrap the job store's `claim` and `commit` in this process."""
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    claim, commit = JobStore.claim, JobStore.commit

    def write(**fields: Any) -> None:
        line = json.dumps({"at": time.time(), "pid": os.getpid(), **fields}) + "\n"
        os.write(file, line.encode())

    def seen_claim(self: JobStore, **options: Any) -> Any:
        began = time.monotonic()
        made = claim(self, **options)
        if made is not None:
            write(act="claim", job=made.job.id, attempt=made.attempt, seconds=time.monotonic() - began)
        return made

    def seen_commit(self: JobStore, made: Any, **options: Any) -> Any:
        answer = commit(self, made, **options)
        write(act="commit", job=made.job.id, attempt=made.attempt, answer=str(answer), status=str(options["status"]))
        return answer

    JobStore.claim = seen_claim  # type: ignore[method-assign]
    JobStore.commit = seen_commit  # type: ignore[method-assign, assignment]


def read(path: Path) -> Iterator[Seen]:
    """Every whole line so far."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        yield Seen(**json.loads(line))
