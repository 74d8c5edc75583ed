"""A daemon thread that does a piece of work again and again, with a pause before each round.

Heartbeat, reaper and watchdog are such threads. What a round does, and that an error must not end it, is theirs.
"""

from __future__ import annotations

import threading


class Periodic:
    """One thread. A subclass says what a round is."""

    def __init__(self, name: str, *, seconds: float) -> None:
        """`seconds` is the pause before the first round."""
        self._first_pause = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the round under way; one that never started has nothing to end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self) -> float | None:
        """Do the work once; gives the pause before the next round, or None when there is to be none."""
        raise NotImplementedError

    def _rounds(self) -> None:
        pause: float | None = self._first_pause
        while pause is not None and not self._stopped.wait(pause):
            pause = self.round()
