"""Starts services in order, keeps them up, and stops them in the reverse order, leaving no process.

One thread, one loop: signals only set a flag. Knows nothing of what the services do.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from cli.child import Child, Service, ServiceFailed

TICK_SECONDS = 0.1
NEWS_SECONDS = 15.0  # between two lines about what still starts
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Somebody asked for the end while services were still starting."""


class Supervisor:
    """A set of services that live and end together."""

    def __init__(self, *, say: Callable[[str], None], on_pids: Callable[[Mapping[str, int]], None]) -> None:
        """`say` gets a sentence for each thing that happens; `on_pids` the process ids whenever they change."""
        self._say = say
        self._on_pids = on_pids
        self._children: list[Child] = []
        self._asked = threading.Event()
        self._hurry = False

    @property
    def pids(self) -> dict[str, int]:
        return {child.service.name: child.pid for child in self._children if child.pid is not None}

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGHUP as the wish to stop; a second one as the wish to stop at once."""
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self, services: Sequence[Service]) -> None:
        """Start services side by side and wait until each is ready.

        Raises:
            ServiceFailed: one of them ended, or took too long.
            Stopped: the wish to stop came first.
        """
        children = [Child(service) for service in services]
        self._children += children
        for child in children:
            child.start()
        started = time.monotonic()
        told = 0.0
        while waiting := [child for child in children if not child.check_ready()]:
            waited = time.monotonic() - started
            for child in children:
                _require_progress(child, waited)
            if waited - told >= NEWS_SECONDS:
                told = waited
                self._say(f"still starting {', '.join(child.service.name for child in waiting)} ({waited:.0f} s)")
            if self._asked.wait(TICK_SECONDS):
                raise Stopped

    def watch(self) -> None:
        """Keep everything up until the wish to stop.

        Raises:
            ServiceFailed: a service does not stay up.
        """
        pids: dict[str, int] = {}
        while not self._asked.wait(TICK_SECONDS):
            for child in self._children:
                if event := child.tend():
                    self._say(event)
            if self.pids != pids:
                pids = self.pids
                self._on_pids(pids)

    def stop(self) -> None:
        """Stop the services, those started last first."""
        for stage in sorted({child.service.stage for child in self._children}, reverse=True):
            group = [child for child in self._children if child.service.stage == stage]
            for child in group:
                child.ask_to_stop()
            for child in group:
                self._see_off(child)
        self._children.clear()

    def _see_off(self, child: Child) -> None:
        deadline = time.monotonic() + child.service.stop_seconds
        while not self._hurry and time.monotonic() < deadline:
            if child.wait(TICK_SECONDS):
                return
        child.kill()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._hurry = self._asked.is_set()
        self._asked.set()


def _require_progress(child: Child, waited: float) -> None:
    """Raise when a starting service has ended or has had its time."""
    service = child.service
    if child.pid is None:
        raise ServiceFailed(
            f"{service.name} could not start ({child.ending()}). Its log is {service.log}; "
            f"the last line: {child.last_words() or '(none)'}"
        )
    if waited > service.start_seconds and not child.ready:
        raise ServiceFailed(
            f"{service.name} was not ready within {service.start_seconds:.0f} s, though its process still ran and is "
            f"stopped now. Its log is {service.log}; the last line: {child.last_words() or '(none)'}"
        )
