from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from darkroom.errors import ConfigurationError
from safety.image.nudenet import NudeNetCheck, load_nudenet
from safety.subjects import ImageSubject
from safety.verdict import Category

RED = np.zeros((8, 8, 3), np.uint8)
RED[:, :, 0] = 255
# The shape of the detector's answers, as its package documents them; the values are made up.
COVERED = {"class": "FEET_COVERED", "score": 0.93, "box": [1, 2, 3, 4]}
EXPOSED = {"class": "BUTTOCKS_EXPOSED", "score": 0.5, "box": [1, 2, 3, 4]}


def score(boxes: list[dict[str, Any]]) -> float:
    (finding,) = NudeNetCheck(lambda _pixels: boxes).run(ImageSubject(RED))
    assert (finding.category, finding.layer) == (Category.sexual, "image_nudenet")
    return finding.score


def test_the_surest_counted_box_decides() -> None:
    assert score([COVERED, EXPOSED]) == pytest.approx(0.4)


@pytest.mark.parametrize("boxes", [[], [COVERED]])
def test_nothing_counted_scores_zero(boxes: list[dict[str, Any]]) -> None:
    assert score(boxes) == 0.0


def test_nan_is_not_hidden_by_other_boxes() -> None:
    assert math.isnan(score([EXPOSED, {**EXPOSED, "score": math.nan}, EXPOSED]))


def test_unknown_label_is_a_fault() -> None:
    with pytest.raises(KeyError):
        score([{**EXPOSED, "class": "SOMETHING_NEW"}])


def test_detector_gets_blue_green_red() -> None:
    seen: list[np.ndarray] = []

    NudeNetCheck(lambda pixels: seen.append(pixels) or []).run(ImageSubject(RED))

    assert seen[0][0, 0].tolist() == [0, 0, 255]


@pytest.mark.skipif(find_spec("nudenet") is not None, reason="the package is installed")
def test_missing_package_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="not installed"):
        load_nudenet()
