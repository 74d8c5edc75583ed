"""Caps fall at once and come back slowly."""

from __future__ import annotations

import pytest

from engine.row_caps import RowCaps
from engine.samples import GroupKey

KEY: GroupKey = ("tiny", (64, 64))
OTHER: GroupKey = ("tiny", (32, 32))
PATIENCE = 3


def make_caps(max_rows: int = 16) -> RowCaps:
    return RowCaps(max_rows, patience=PATIENCE)


def fill(caps: RowCaps, times: int, rows: int | None = None) -> None:
    for _ in range(times):
        caps.fitted(KEY, caps.of(KEY) if rows is None else rows)


def test_a_group_nobody_knows_takes_the_operators_bound() -> None:
    assert make_caps(8).of(KEY) == 8


@pytest.mark.parametrize(("found", "cap"), [(6, 6), (1, 2), (64, 16)])
def test_a_profile_sets_the_cap_between_a_guided_sample_and_the_operators_bound(found: int, cap: int) -> None:
    caps = make_caps()

    caps.limit(KEY, found)

    assert (caps.of(KEY), caps.of(OTHER)) == (cap, 16)
    assert caps.known() == {KEY: cap}


def test_out_of_memory_halves_its_own_group_and_never_below_a_guided_sample() -> None:
    caps = make_caps()

    caps.shrink(KEY, 8)
    assert (caps.of(KEY), caps.of(OTHER)) == (4, 16)
    caps.shrink(KEY, 3)
    assert caps.of(KEY) == 2


def test_a_lowered_cap_comes_back_a_row_at_a_time_after_full_forwards() -> None:
    caps = make_caps()
    caps.shrink(KEY, 8)

    fill(caps, PATIENCE - 1)
    assert caps.of(KEY) == 4
    fill(caps, 1)
    assert caps.of(KEY) == 5
    fill(caps, PATIENCE, rows=4)
    assert caps.of(KEY) == 6, "guided samples can't fill an odd cap"


def test_forwards_with_room_to_spare_prove_nothing() -> None:
    caps = make_caps()
    caps.shrink(KEY, 16)

    fill(caps, 10 * PATIENCE, rows=4)

    assert caps.of(KEY) == 8


def test_a_cap_comes_back_to_what_the_profile_found_and_no_further() -> None:
    caps = make_caps()
    caps.limit(KEY, 6)
    caps.shrink(KEY, 6)

    fill(caps, 20 * PATIENCE)

    assert caps.of(KEY) == 6


def test_a_cap_that_came_back_too_far_returns_to_what_did_fit_and_waits_twice_as_long() -> None:
    caps = make_caps()
    caps.shrink(KEY, 8)
    fill(caps, PATIENCE)
    assert caps.of(KEY) == 5

    caps.shrink(KEY, 5)

    assert caps.of(KEY) == 4
    fill(caps, 2 * PATIENCE - 1)
    assert caps.of(KEY) == 4
    fill(caps, 1)
    assert caps.of(KEY) == 5


def test_what_once_fitted_and_fails_again_is_halved() -> None:
    caps = make_caps()
    caps.shrink(KEY, 16)
    fill(caps, 1)

    caps.shrink(KEY, 8)

    assert caps.of(KEY) == 4


def test_every_change_is_told() -> None:
    told: list[tuple[str, str, int]] = []
    caps = RowCaps(8, patience=1, on_change=lambda *change: told.append(change))
    caps.size(KEY, "64x64")

    caps.limit(KEY, 6)
    caps.shrink(KEY, 6)
    caps.fitted(KEY, 3)

    assert told == [("tiny", "64x64", 6), ("tiny", "64x64", 3), ("tiny", "64x64", 4)]
    assert caps.by_size() == {("tiny", "64x64"): 4}


def test_max_rows_must_hold_a_guided_sample() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        RowCaps(1)
