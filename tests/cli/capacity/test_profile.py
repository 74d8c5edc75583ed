from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.capacity.profile import EngineProfile
from darkroom.errors import ConfigurationError
from tests.cli.capacity.profiles import ROUND

SQUARE = 512**2


def test_a_measured_count_of_rows_costs_what_was_measured() -> None:
    assert ROUND.forward(4, SQUARE) == pytest.approx(0.12)


@pytest.mark.parametrize(("rows", "seconds"), [(3, 0.11), (6, 0.14), (10, 0.18), (1, 0.10)])
def test_other_counts_lie_on_the_line_between_or_beyond_and_never_below_the_cheapest(rows: int, seconds: float) -> None:
    assert ROUND.forward(rows, SQUARE) == pytest.approx(seconds)


def test_four_times_the_pixels_cost_four_times_the_seconds() -> None:
    assert ROUND.forward(2, 4 * SQUARE) == pytest.approx(0.40)


def test_a_profile_survives_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "round.json").write_text(ROUND.model_dump_json())

    assert EngineProfile.read(tmp_path / "round.json") == ROUND


def test_a_report_of_the_accelerator_benchmark_is_a_profile(tmp_path: Path) -> None:
    report = {
        "date": "2026-11-21",
        "device": "a GPU",
        "model": "sdxl",
        "dtype": "float16",
        "side": 1024,
        "steps": 20,
        "forwards": {"eager": {"2": [0.05, 0.04, 0.06], "4": [0.08, 0.08, 0.08]}},
        "engine": [1.0, 1.0, 1.25],
        "p0": [0.5],
    }
    (tmp_path / "gpu.json").write_text(json.dumps(report))

    profile = EngineProfile.read(tmp_path / "gpu.json")

    assert profile.rows == {2: 0.05, 4: 0.08}
    assert profile.max_rows == 4
    assert profile.image_seconds == pytest.approx(1.0 - 20 * 0.08 / 2)  # an image a second, 0.8 s of it steps


@pytest.mark.parametrize("text", ["{", "{}", '{"name": "x", "unknown": 1}', "[]"])
def test_what_is_no_profile_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)

    with pytest.raises(ConfigurationError, match=r"profile\.json"):
        EngineProfile.read(tmp_path / "profile.json")
