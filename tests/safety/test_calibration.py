from __future__ import annotations

import math
import random

import pytest
from pydantic import ValidationError

from safety.calibration import IDENTITY, Calibration, fit

TABLE = Calibration(points=((-0.1, 0.0), (0.0, 0.5), (0.1, 1.0)))


@pytest.mark.parametrize(
    ("raw", "score"), [(-9.0, 0.0), (-0.1, 0.0), (-0.05, 0.25), (0.0, 0.5), (0.1, 1.0), (9.0, 1.0)]
)
def test_points_are_joined_by_lines_and_flat_beyond_the_ends(raw: float, score: float) -> None:
    assert TABLE(raw) == pytest.approx(score)


def test_nan_stays_nan() -> None:
    assert math.isnan(TABLE(math.nan))


@pytest.mark.parametrize("points", [((0.0, 0.5), (1.0, 0.4)), ((1.0, 0.1), (1.0, 0.2)), ((0.0, 1.1),), ()])
def test_table_that_falls_or_leaves_the_range_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValidationError):
        Calibration(points=points)


def test_identity_keeps_shares() -> None:
    assert [IDENTITY(raw) for raw in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]


def test_fitted_table_gives_the_share_of_positives_at_a_raw_score() -> None:
    rng = random.Random(1)
    raws = [rng.uniform(-1, 1) for _ in range(6000)]
    table = fit(raws, [rng.random() < (raw + 1) / 2 for raw in raws])

    assert [table(raw) for raw in (-0.8, 0.0, 0.8)] == pytest.approx([0.1, 0.5, 0.9], abs=0.06)


def test_fitted_table_rises_where_the_labels_do_not() -> None:
    table = fit([0.0, 1.0, 2.0, 3.0], [True, True, False, False], bins=4)

    assert table(0.0) == table(3.0) == pytest.approx(0.5)


def test_small_samples_give_no_certainty() -> None:
    table = fit([0.0, 1.0], [False, True], bins=2)

    assert 0 < table(0.0) < table(1.0) < 1
