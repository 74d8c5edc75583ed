"""Submits jobs at a steady rate, whatever happens to the service meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.reliability.caller import Caller, job_body
from bench.reliability.fleet import Fleet
from bench.reliability.ledger import Ledger
from bench.reliability.trial import Trial

OWNERS = ("ada", "bob", "cleo", "dora", "emil")
THREADS = 16


class Load:
    """Jobs of five owners, each of between `least_steps` and `most_steps` steps."""

    def __init__(
        self, fleet: Fleet, ledger: Ledger, trial: Trial, *, rate: float, least_steps: int = 2, most_steps: int = 40
    ) -> None:
        self._callers = [Caller(fleet, ledger, owner) for owner in OWNERS]
        self._random = trial.random()
        self._rate = rate
        self._steps = (least_steps, most_steps)
        self._stopped = threading.Event()
        self.sent = 0

    def send(self, jobs: int) -> None:
        """Submit this many, and return when each call has ended."""
        with ThreadPoolExecutor(THREADS) as pool:
            began = time.monotonic()
            for number in range(jobs):
                pause = began + number / self._rate - time.monotonic()
                if self._stopped.wait(max(pause, 0)):
                    break
                caller = self._random.choice(self._callers)
                pool.submit(caller.submit, job_body(number, steps=self._random.randint(*self._steps)))
                self.sent += 1

    @contextmanager
    def sending(self, jobs: int = 1_000_000) -> Iterator[None]:
        """Submit in the background for the length of the block, or until all are sent."""
        thread = threading.Thread(target=self.send, args=(jobs,))
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def rest(self) -> None:
        """A pause of whoever waits for the rest of the load."""
        self._stopped.wait(0.1)

    def close(self) -> None:
        for caller in self._callers:
            caller.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
