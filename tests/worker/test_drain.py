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
