"""Kills workers at random moments while a check's load runs."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.reliability.members import Keeper


class Killer:
    """A thread that kills one of some members every so often."""

    def __init__(self, keeper: Keeper, names: Sequence[str], *, seconds: float, chance: random.Random) -> None:
        """`seconds` is the mean pause between two kills."""
        self._keeper = keeper
        self._names = list(names)
        self._seconds = seconds
        self._random = chance
        self._stopped = threading.Event()
        self.kills = 0

    @contextmanager
    def killing(self, most: int) -> Iterator[threading.Thread]:
        """Kill in the background; ends by itself after so many kills, and with the block."""
        thread = threading.Thread(target=self._run, args=(most,))
        thread.start()
        try:
            yield thread
        finally:
            self._stopped.set()
            thread.join()

    def _run(self, most: int) -> None:
        while self.kills < most and not self._stopped.wait(self._random.uniform(0.5, 1.5) * self._seconds):
            self._keeper.send(self._random.choice(self._names), signal.SIGKILL)
            self.kills += 1
