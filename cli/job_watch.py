"""Wakes whoever waits for a job as soon as something happens to it: a thread that reads the job's events.

It only wakes; what happened is for the waiting one to read. Where the stream can't be had or breaks off, nobody is
woken, and whoever waits looks by themselves.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from cli.client import Client
from darkroom.errors import DarkroomError


class JobWatch:
    """Follows one job."""

    def __init__(self, client: Client, job_id: str) -> None:
        self._client = client
        self._job_id = job_id
        self._happened = threading.Event()
        self._left = threading.Event()
        self.listening = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._follow, daemon=True).start()  # it may wait in a read for long
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()

    def wait(self, seconds: float) -> bool:
        """Wait for something to happen; whether it did."""
        happened = self._happened.wait(seconds)
        self._happened.clear()
        return happened

    def _follow(self) -> None:
        with suppress(DarkroomError):
            for _ in self._client.events(self._job_id):
                self.listening = True
                self._happened.set()
                if self._left.is_set():
                    return
        self.listening = False
        self._happened.set()
