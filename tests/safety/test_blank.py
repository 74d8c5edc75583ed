from __future__ import annotations

import numpy as np
import pytest

from safety.image.blank import BlankCheck
from safety.subjects import ImageSubject
from safety.verdict import Category


def score(pixels: np.ndarray) -> float:
    (finding,) = BlankCheck().run(ImageSubject(pixels.astype(np.uint8)))
    assert (finding.category, finding.layer) == (Category.custom, "image_blank")
    return finding.score


@pytest.mark.parametrize("value", [0, 127, 255])
def test_flat_image_of_any_colour_scores_one(value: int) -> None:
    assert score(np.full((16, 24, 3), value)) == 1.0


def test_noise_below_sight_is_still_blank() -> None:
    noise = np.random.default_rng(0).integers(-2, 3, (64, 64, 3))

    assert score(100 + noise) == 1.0


def test_score_is_the_share_of_the_flat_part() -> None:
    pixels = np.zeros((10, 10, 3))
    pixels[:3] = 200

    assert score(pixels) == pytest.approx(0.7)


def test_ramp_scores_low() -> None:
    ramp = np.linspace(0, 255, 64).reshape(1, 64, 1)

    assert score(np.broadcast_to(ramp, (64, 64, 3))) < 0.1
