"""The process's way out."""

from __future__ import annotations

from worker.drain import Drain


def test_a_process_that_was_not_asked_to_leave_stays() -> None:
    drain = Drain(grace_seconds=0, terminate=lambda: None)

    assert (drain.begun, drain.over) == (False, False)


def test_grace_runs_from_the_first_request_only() -> None:
    drain = Drain(grace_seconds=0.05, terminate=lambda: None)

    drain.begin()
    assert (drain.begun, drain.over) == (True, False)
    while not drain.over:
        drain.begin()


def test_a_fault_leaves_no_grace_and_its_first_reason_stands() -> None:
    asked: list[bool] = []
    drain = Drain(grace_seconds=60, terminate=lambda: asked.append(True))

    drain.end("the engine has stopped")
    drain.end("something else")

    assert drain.over
    assert (drain.reason, asked) == ("the engine has stopped", [True])


def test_a_process_that_is_to_be_replaced_keeps_its_grace() -> None:
    asked: list[bool] = []
    drain = Drain(grace_seconds=60, terminate=lambda: asked.append(True))

    drain.replace("no ticket comes")

    assert (drain.begun, drain.over, drain.broken) == (True, False, False)
    assert (drain.reason, asked) == ("no ticket comes", [True])


def test_a_fault_while_it_leaves_takes_the_grace_away() -> None:
    drain = Drain(grace_seconds=60, terminate=lambda: None)
    drain.begin()

    drain.end("the engine has stopped")

    assert (drain.over, drain.broken) == (True, True)


def test_a_process_is_overdue_some_time_after_its_grace() -> None:
    drain = Drain(grace_seconds=0, terminate=lambda: None, linger_seconds=0.1)
    assert not drain.overdue

    drain.begin()

    assert drain.over
    assert not drain.overdue
    while not drain.overdue:
        pass
