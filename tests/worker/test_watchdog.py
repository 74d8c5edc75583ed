"""An engine that is dead, a consumer that is deaf, and a process that does not leave, all end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from darkroom.jobs import Tier
from darkroom.tickets import TicketOffice
from engine import Engine
from tests.engine.factories import make_request, set_trap
from tests.fixtures.processes import eventually
from worker.drain import Drain
from worker.hands import Hands
from worker.hearing import Hearing
from worker.watchdog import Watchdog


@dataclass
class Guarded:
    """A watchdog over real parts, and what it did."""

    engine: Engine
    office: TicketOffice
    grace_seconds: float = 60.0
    asked_to_leave: list[bool] = field(default_factory=list)
    abandoned: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.drain = Drain(
            grace_seconds=self.grace_seconds, terminate=lambda: self.asked_to_leave.append(True), linger_seconds=0.2
        )
        self.hands = Hands()

    def watchdog(self, **changes: float) -> Watchdog:
        hearing = Hearing(self.office, self.hands, self.engine, tiers=tuple(Tier), places=2)
        abandon: Callable[[], None] = lambda: self.abandoned.append(True)  # noqa: E731
        return Watchdog(self.engine, hearing, self.drain, abandon=abandon, **{"pause_seconds": 0.05, **changes})


@pytest.fixture
def guarded(own_engine: Engine, office: TicketOffice) -> Guarded:
    return Guarded(own_engine, office)


def test_a_healthy_engine_is_left_alone(guarded: Guarded) -> None:
    guarded.engine.submit("tiny", make_request()).future.result(timeout=60)

    eventually(lambda: not guarded.engine.busy)
    assert guarded.watchdog(standstill_seconds=0.0).engine_finding() is None


def test_an_engine_that_hangs_in_a_forward_ends_the_process_without_grace(guarded: Guarded) -> None:
    released = threading.Event()
    set_trap(guarded.engine, "unet", lambda _latents: released.wait(60))
    watchdog = guarded.watchdog(standstill_seconds=0.3)
    watchdog.start()

    guarded.engine.submit("tiny", make_request())

    eventually(lambda: guarded.drain.reason, seconds=10)
    assert "no step" in (guarded.drain.reason or "")
    assert guarded.drain.over
    assert guarded.asked_to_leave == [True]
    released.set()
    watchdog.stop()


def test_an_engine_that_lost_its_device_is_found(guarded: Guarded) -> None:
    def lose(_latents: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    set_trap(guarded.engine, "unet", lose)
    handle = guarded.engine.submit("tiny", make_request())
    assert handle.future.exception(timeout=60) is not None

    assert "accelerator" in eventually(guarded.watchdog().engine_finding, seconds=10)


def test_a_consumer_that_lets_tickets_lie_ends_the_process_and_lets_jobs_finish(guarded: Guarded) -> None:
    guarded.office.issue(Tier.STANDARD)
    watchdog = guarded.watchdog(deaf_seconds=0.3)

    watchdog.start()

    eventually(lambda: guarded.drain.reason, seconds=10)
    assert "no ticket" in (guarded.drain.reason or "")
    assert (guarded.drain.broken, guarded.drain.over) == (False, False)
    watchdog.stop()


def test_a_process_that_does_not_leave_in_time_is_abandoned_once(guarded: Guarded) -> None:
    guarded.grace_seconds = 0.1
    guarded.__post_init__()
    watchdog = guarded.watchdog()
    watchdog.start()
    assert not guarded.abandoned

    guarded.drain.begin()

    eventually(lambda: guarded.abandoned, seconds=10)
    watchdog.stop()
    assert guarded.abandoned == [True]
