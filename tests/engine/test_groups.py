"""Who shares the next forward, and whose turn it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from engine.denoising import Denoising
from engine.groups import Groups
from engine.row_caps import RowCaps
from engine.samples import Sample
from tests.engine.factories import make_request


def make_running(*, rows: int = 2, side: int = 64, model: str = "tiny") -> Sample:
    """A sample that takes so many rows; the groups look at nothing else."""
    sample = Sample(model, make_request(width=side, height=side), group=(model, side))
    sample.denoising = cast("Denoising", SimpleNamespace(rows=rows))
    return sample


def make_groups(*samples: Sample, max_rows: int = 8) -> Groups:
    groups = Groups(RowCaps(max_rows))
    for sample in samples:
        groups.add(sample)
    return groups


def test_nobody_runs_in_an_empty_house() -> None:
    assert make_groups().next() == []


def test_samples_of_one_model_and_size_share_a_forward() -> None:
    first, second = make_running(), make_running(rows=1)

    assert make_groups(first, second).next() == [first, second]


def test_groups_take_turns_however_many_samples_each_has() -> None:
    large = [make_running(side=64) for _ in range(4)]
    small, other = make_running(side=32), make_running(model="other")
    groups = make_groups(*large, small, other)

    turns = [groups.next()[0].key for _ in range(6)]

    assert turns == [large[0].key, small.key, other.key] * 2


def test_a_group_that_outgrows_its_cap_takes_turns_within() -> None:
    samples = [make_running() for _ in range(3)]
    groups = make_groups(*samples, max_rows=4)

    a, b, c = samples
    assert [groups.next() for _ in range(3)] == [[a, b], [c, a], [b, c]]


def test_room_is_counted_per_group() -> None:
    groups = make_groups(make_running(rows=2), make_running(rows=1), max_rows=4)
    key, elsewhere = make_running().key, make_running(side=32).key

    assert groups.has_room(key, 1)
    assert not groups.has_room(key, 2)
    assert groups.has_room(elsewhere, 2)


def test_rows_and_samples_follow_who_is_in() -> None:
    first, second = make_running(rows=2), make_running(rows=1)
    groups = make_groups(first, second)
    assert (groups.rows, groups.samples) == (3, 2)

    groups.remove(first)

    assert (groups.rows, groups.samples, list(groups)) == (1, 1, [second])


def test_rows_that_a_sample_gives_back_are_free_for_others() -> None:
    sample = make_running(rows=2)
    groups = make_groups(sample, max_rows=2)

    sample.tensors.rows = 1
    groups.count()

    assert groups.rows == 1
    assert groups.has_room(sample.key, 1)
