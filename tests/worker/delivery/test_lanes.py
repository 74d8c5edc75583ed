"""Lanes: one receiver's trouble is its own."""

from __future__ import annotations

from itertools import pairwise

from worker.delivery.lanes import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT, Lane, Lanes


def fail(lane: Lane, now: float, times: int = FAILURES) -> None:
    for _ in range(times):
        assert lane.enter(now) is None
        lane.leave(now, seconds=0.1, failed=True)


def test_lane_lets_as_many_through_as_it_is_wide() -> None:
    lane = Lane(width=2)

    assert [lane.enter(0) is None for _ in range(3)] == [True, True, False]
    lane.leave(1, seconds=1, failed=False)
    assert lane.enter(1) is None


def test_those_who_wait_come_back_one_after_the_other_and_never_too_late() -> None:
    lane = Lane(width=1, running=1, seconds=15)

    turns = [lane.enter(100.0) for _ in range(1_000)]

    assert all(turn is not None and 100 < turn <= 100 + LONGEST_WAIT for turn in turns)
    assert all(later - earlier >= 15 for earlier, later in pairwise(turns[:30]))  # type: ignore[operator]


def test_failures_in_a_row_close_the_lane() -> None:
    lane = Lane(width=4)

    fail(lane, 0)

    assert lane.enter(FIRST_PAUSE - 1) >= FIRST_PAUSE  # type: ignore[operator]


def test_closed_lane_is_probed_by_one_at_a_time() -> None:
    lane = Lane(width=4)
    fail(lane, 0)

    assert lane.enter(FIRST_PAUSE) is None
    assert lane.enter(FIRST_PAUSE) is not None


def test_lane_stays_closed_longer_with_each_failed_probe_up_to_a_bound() -> None:
    lane, now, pauses = Lane(width=4), 0.0, []
    fail(lane, now)
    for _ in range(8):
        pauses.append(lane.closed_until - now)
        now = lane.closed_until
        fail(lane, now, times=1)

    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_probe_that_succeeds_opens_the_lane_wide() -> None:
    lane = Lane(width=4)
    fail(lane, 0)
    lane.enter(FIRST_PAUSE)

    lane.leave(FIRST_PAUSE, seconds=0.1, failed=False)

    assert [lane.enter(FIRST_PAUSE) is None for _ in range(5)] == [True] * 4 + [False]


def test_receiver_that_asks_for_rest_gets_it() -> None:
    lane = Lane(width=4)
    lane.enter(0)

    lane.leave(0, seconds=0.1, failed=True, closed_for=30)

    assert lane.enter(29) is not None
    assert lane.enter(30) is None


def test_lanes_do_not_know_each_other() -> None:
    lanes = Lanes(width=1)
    fail(lanes.of(("acme", "ep_1"), 0), 0)

    assert lanes.of(("acme", "ep_2"), 0).enter(0) is None
    assert lanes.of(("other", "ep_1"), 0).enter(0) is None
    assert lanes.of(("acme", "ep_1"), 0).enter(0) is not None
