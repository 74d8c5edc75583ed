from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from safety.provenance.dct_mark import DctMark, with_check, without_check
from safety.provenance.reading import Reading

PAYLOAD = 0xC0FFEE
MARK = DctMark(b"k" * 32)


def painted(seed: int, side: int = 128) -> np.ndarray:
    """Flat saturated shapes: the hardest pictures, because clipping takes half of the mark away."""
    rng = np.random.default_rng(seed)
    colours = [tuple(int(value) for value in rng.choice([0, 60, 255], 3)) for _ in range(5)]
    image = Image.new("RGB", (side, side), colours[0])
    draw = ImageDraw.Draw(image)
    for colour in colours[1:]:
        x, y, radius = (int(value) for value in rng.integers(8, side, 3))
        draw.ellipse([x - radius / 2, y - radius / 2, x + radius / 2, y + radius / 2], fill=colour)
    return np.asarray(image)


def saved(pixels: np.ndarray, kind: str, **options: int) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    height, width = (round(side * scale) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1)))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda pixels: pixels,
    "jpeg 75": lambda pixels: saved(pixels, "JPEG", quality=75),
    "jpeg 50": lambda pixels: saved(pixels, "JPEG", quality=50),
    "webp 95": lambda pixels: saved(pixels, "WEBP", quality=95),
    "crop off the grid": lambda pixels: pixels[13:-11, 7:-9],
    "three quarters": lambda pixels: resized(pixels, 0.75),
    "blur": blurred,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(4))
def test_payload_is_read_back_after(change: str, seed: int) -> None:
    marked = MARK.embed(painted(seed), PAYLOAD)

    reading = MARK.read(CHANGES[change](marked))

    assert reading is not None
    assert reading.payload == PAYLOAD


@pytest.mark.parametrize("size", [(64, 64), (128, 256), (131, 200), (512, 512)])
def test_size_of_the_picture_does_not_matter(size: tuple[int, int]) -> None:
    pixels = painted(1, max(size))[: size[0], : size[1]]

    reading = MARK.read(MARK.embed(pixels, PAYLOAD))

    assert reading is not None
    assert reading.payload == PAYLOAD


def test_mark_is_faint() -> None:
    for seed in range(8):
        pixels = painted(seed)

        error = np.mean((MARK.embed(pixels, PAYLOAD).astype(float) - pixels) ** 2)

        assert 10 * np.log10(255**2 / error) > 40


def test_unmarked_picture_has_no_mark() -> None:
    pictures = [*(painted(seed) for seed in range(3)), np.full((128, 128, 3), 255, np.uint8)]

    assert [MARK.read(pixels) for pixels in pictures] == [None] * len(pictures)


def test_mark_of_another_key_is_none() -> None:
    marked = DctMark(b"other" * 8).embed(painted(2), PAYLOAD)

    assert MARK.read(marked) is None


def test_same_key_and_payload_give_the_same_pixels() -> None:
    first, second = (DctMark(b"k" * 32).embed(painted(3), PAYLOAD) for _ in range(2))

    assert np.array_equal(first, second)


@pytest.mark.parametrize("size", [(4, 4), (7, 300), (1, 1)])
def test_picture_smaller_than_a_block_stays_as_it_is(size: tuple[int, int]) -> None:
    pixels = painted(4, 300)[: size[0], : size[1]]

    assert np.array_equal(MARK.embed(pixels, PAYLOAD), pixels)
    assert MARK.read(pixels) is None


def test_every_changed_bit_is_noticed() -> None:
    bits = with_check(PAYLOAD)

    for place in range(len(bits)):
        wrong = [bit ^ (index == place) for index, bit in enumerate(bits)]
        assert without_check(wrong) is None
    assert without_check(bits) == PAYLOAD


def test_payload_has_24_bits() -> None:
    with pytest.raises(ValueError, match="24 bits"):
        MARK.embed(painted(0), 1 << 24)


def test_reading_says_how_strong_the_mark_is() -> None:
    marked = MARK.embed(painted(5), PAYLOAD)

    untouched, worn = MARK.read(marked), MARK.read(saved(marked, "JPEG", quality=50))

    assert isinstance(untouched, Reading)
    assert worn is not None
    assert worn.strength < untouched.strength <= 1
