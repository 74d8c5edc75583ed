from __future__ import annotations

import io

import numpy as np
from PIL import Image

from safety.image.barred import BarredCheck
from safety.provenance.phash import looks_of
from safety.subjects import ImageSubject
from safety.verdict import Category

NOISE = np.random.default_rng(3)


def picture() -> np.ndarray:
    rough = NOISE.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((128, 128), Image.Resampling.BICUBIC))


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file).convert("RGB"))


def test_barred_image_is_found_after_a_re_encode_and_no_other_is() -> None:
    taken_down, other = picture(), picture()
    barred = {looks_of(taken_down)}
    check = BarredCheck(lambda: {looks for looks in barred if looks is not None})

    found = check.run_batch([ImageSubject(as_jpeg(taken_down)), ImageSubject(other)])

    assert [[(f.category, f.score) for f in each] for each in found] == [[(Category.custom, 1.0)], []]


def test_take_down_counts_from_the_next_image_on() -> None:
    barred: set[int] = set()
    check, image = BarredCheck(lambda: barred), picture()

    before = check.run(ImageSubject(image))
    barred.add(looks_of(image) or 0)

    assert (before, len(check.run(ImageSubject(image)))) == ([], 1)


def test_flat_image_is_never_barred() -> None:
    assert BarredCheck(lambda: {0}).run(ImageSubject(np.zeros((64, 64, 3), np.uint8))) == []
