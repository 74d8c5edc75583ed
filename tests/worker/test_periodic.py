"""The thread under heartbeat, reaper and watchdog."""

from __future__ import annotations

import time

from tests.fixtures.processes import eventually
from worker.periodic import Periodic


class Counting(Periodic):
    """Counts its rounds; gives each next pause as it is told."""

    def __init__(self, *pauses: float | None) -> None:
        super().__init__("counting", seconds=0.01)
        self.rounds = 0
        self._pauses = pauses

    def round(self) -> float | None:
        self.rounds += 1
        return self._pauses[min(self.rounds, len(self._pauses)) - 1]


def test_rounds_follow_one_another_until_it_is_stopped() -> None:
    thread = Counting(0.01)
    thread.start()
    eventually(lambda: thread.rounds >= 3)

    thread.stop()

    rounds = thread.rounds
    time.sleep(0.05)
    assert thread.rounds == rounds


def test_a_round_that_names_no_pause_is_the_last() -> None:
    thread = Counting(0.01, None)
    thread.start()

    eventually(lambda: thread.rounds == 2)

    time.sleep(0.05)
    assert thread.rounds == 2


def test_stopping_does_not_wait_out_a_pause() -> None:
    thread = Counting(60.0)
    thread.start()
    eventually(lambda: thread.rounds == 1)

    started = time.monotonic()
    thread.stop()

    assert time.monotonic() - started < 10


def test_one_that_never_started_can_be_stopped() -> None:
    Counting(0.01).stop()
