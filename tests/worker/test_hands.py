"""What the process has in hand, and who waits for it to be empty."""

from __future__ import annotations

import threading
import time

from worker.hands import Hands


def test_tickets_in_hand_are_counted_and_the_last_is_remembered() -> None:
    hands = Hands()
    before = hands.last_ticket_at
    time.sleep(0.01)

    with hands.ticket(), hands.ticket():
        assert hands.tickets == 2

    assert hands.tickets == 0
    assert hands.last_ticket_at > before


def test_who_holds_waits_for_the_last_job() -> None:
    hands = Hands()
    woken: list[float] = []
    since = hands.emptied
    with hands.job(alone=False):
        with hands.job(alone=False):
            thread = threading.Thread(
                target=lambda: (hands.await_empty(since=since, seconds=20), woken.append(time.monotonic()))
            )
            thread.start()
        thread.join(0.1)
        assert not woken

    thread.join(10)
    assert woken


def test_who_asked_before_the_last_job_ended_does_not_wait() -> None:
    hands = Hands()
    since = hands.emptied
    with hands.job(alone=False):
        pass
    began = time.monotonic()

    hands.await_empty(since=since, seconds=20)

    assert time.monotonic() - began < 5


def test_a_job_that_ran_alone_is_rested_from_for_as_long_as_it_held_others() -> None:
    hands = Hands()
    with hands.job(alone=False):
        pass
    assert not hands.resting

    hands.await_empty(since=hands.emptied, seconds=0.3)
    with hands.job(alone=True):
        pass

    assert hands.resting
    time.sleep(0.5)
    assert not hands.resting
