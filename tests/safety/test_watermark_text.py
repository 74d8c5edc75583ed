from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from darkroom.errors import ConfigurationError
from safety.calibration import IDENTITY
from safety.image.overlay_net import INFO, WEIGHTS
from safety.image.watermark_text import WatermarkTextCheck, load_watermark_check, windows
from safety.subjects import ImageSubject
from safety.verdict import Category
from training.painter import painted_pair
from training.watermark_detector import overlaid

SHIPPED = Path("models/darkroom-tiny-overlay")


def score(check: WatermarkTextCheck, pixels: np.ndarray) -> float:
    (finding,) = check.run(ImageSubject(pixels))
    assert (finding.category, finding.layer) == (Category.watermark, "image_watermark")
    return finding.score


def test_shipped_detector_parts_overlaid_pictures_from_plain_ones() -> None:
    check, rng = load_watermark_check(SHIPPED), random.Random(1)
    plain = [np.asarray(painted_pair(50_000_000 + index)[0]) for index in range(40)]

    found = [score(check, overlaid(each, rng)) >= 0.5 for each in plain]
    mistaken = [score(check, each) >= 0.5 for each in plain]

    assert (sum(found) >= 36, sum(mistaken) <= 4) == (True, True)


def test_any_detector_can_stand_in() -> None:
    check = WatermarkTextCheck(lambda pixels: float(pixels.mean() / 255), IDENTITY)

    assert score(check, np.full((8, 8, 3), 51, np.uint8)) == pytest.approx(0.2)
    assert math.isnan(score(WatermarkTextCheck(lambda _pixels: math.nan, IDENTITY), np.zeros((8, 8, 3), np.uint8)))


@pytest.mark.parametrize(("height", "width", "count"), [(128, 128, 1), (64, 300, 1), (256, 256, 5), (200, 520, 11)])
def test_windows_are_the_whole_and_every_part_of_a_larger_image(height: int, width: int, count: int) -> None:
    places = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    pixels = np.stack([places >> 16, places >> 8, places], axis=2).astype(np.uint8)

    whole, *parts = windows(pixels)
    seen = {tuple(pixel) for part in parts for pixel in part.reshape(-1, 3).tolist()}

    assert {window.shape for window in (whole, *parts)} == {(128, 128, 3)}
    assert len(parts) + 1 == count
    assert not parts or len(seen) == height * width


@pytest.mark.parametrize("file", [INFO, WEIGHTS])
def test_damaged_detector_stops_the_start(file: str, tmp_path: Path) -> None:
    for each in (INFO, WEIGHTS):
        (tmp_path / each).write_bytes((SHIPPED / each).read_bytes())
    (tmp_path / file).write_text(json.dumps({"schema": 2}))

    with pytest.raises(ConfigurationError, match="overlay detector"):
        load_watermark_check(tmp_path)
