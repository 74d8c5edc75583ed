"""When a delivery is tried again."""

from __future__ import annotations

import random

import pytest

from darkroom.settings import DeliverySettings
from worker.delivery.schedule import LONGEST_ASKED, longest_life, next_pause, read_retry_after

PAUSES = DeliverySettings().pauses
NOON = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def test_pauses_are_those_of_the_table_and_a_little_more() -> None:
    dice = random.Random(4)

    pauses = [next_pause(PAUSES, attempt=number, asked=None, dice=dice) for number in range(1, 11)]

    assert pauses[-1] is None
    assert PAUSES == (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    assert all(table <= pause <= 1.2 * table for table, pause in zip(PAUSES, pauses, strict=False))  # type: ignore[operator]


def test_receiver_may_ask_for_a_longer_pause_but_not_for_a_shorter_one() -> None:
    dice = random.Random(4)

    assert next_pause(PAUSES, attempt=1, asked=120, dice=dice) == 120
    assert next_pause(PAUSES, attempt=1, asked=10**9, dice=dice) == LONGEST_ASKED
    assert next_pause(PAUSES, attempt=2, asked=1, dice=dice) >= 300  # type: ignore[operator]


def test_life_outlasts_every_pause() -> None:
    assert longest_life(PAUSES) > 1.2 * sum(PAUSES)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120),
        ("1.5", 1.5),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:14:20", 60),
        ("Tue, 14 Nov 2023 22:12:20 GMT", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert read_retry_after(text, now=NOON) == seconds
