"""The circuit breaker: opens after faults in a row, lets one try at a time, closes on an answer."""

from __future__ import annotations

from safety.circuit_breaker import CircuitBreaker


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(faults=3, pause_seconds=10, now=clock)
    for _ in range(3):
        breaker.failed()
    return breaker


def test_faults_in_a_row_open_it() -> None:
    breaker = CircuitBreaker(faults=3)

    breaker.failed()
    breaker.failed()
    assert breaker.admits()

    breaker.failed()
    assert not breaker.admits()


def test_an_answer_between_faults_starts_the_count_anew() -> None:
    breaker = CircuitBreaker(faults=2)

    breaker.failed()
    breaker.answered()
    breaker.failed()

    assert breaker.admits()


def test_after_the_pause_one_may_try() -> None:
    clock = Clock()
    breaker = opened(clock)

    clock.seconds = 10

    assert [breaker.admits() for _ in range(3)] == [True, False, False]


def test_success_of_the_trial_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds = 10
    breaker.admits()

    breaker.answered()

    assert all(breaker.admits() for _ in range(3))


def test_fault_of_the_trial_starts_the_pause_anew() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds = 10
    breaker.admits()

    breaker.failed()
    clock.seconds = 19

    assert not breaker.admits()


def test_trial_that_never_reports_shuts_nobody_out_for_ever() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds = 10
    breaker.admits()

    clock.seconds = 20

    assert breaker.admits()
