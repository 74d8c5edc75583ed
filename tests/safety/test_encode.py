from __future__ import annotations

import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from safety.provenance.encode import TRAINED_ALGORITHMIC_MEDIA, encode_image
from safety.provenance.recipe import Recipe, parse_recipe

FORMATS = ["png", "jpeg", "webp"]
PROMPTS = [
    "a red circle",
    "café, 東京の夜, 🎨 (word:1.3)",
    "two\nlines\nNegative prompt: forged",
    "x" * 2_000,
    "🎨" * 2_000,
]
USER_COMMENT, EXIF_IFD = 0x9286, 0x8769


def make_recipe(prompt: str = "a red circle") -> Recipe:
    return Recipe(
        prompt=prompt,
        negative_prompt="blurry",
        steps=25,
        scheduler="DPM++ 2M",
        guidance_scale=7.5,
        seed=2**62,
        width=48,
        height=32,
        model="darkroom-tiny",
    )


def make_pixels() -> np.ndarray:
    rows, columns = np.mgrid[0:32, 0:48]
    return np.stack([rows * 8, columns * 5, (rows + columns) * 3], axis=2).astype(np.uint8)


def read_text(data: bytes) -> str:
    """The recipe's text, found the way other programs find it."""
    image = Image.open(BytesIO(data))
    if image.format == "PNG":
        return str(image.info["parameters"])
    comment = image.getexif().get_ifd(EXIF_IFD)[USER_COMMENT]
    assert comment[:8] == b"UNICODE\0"
    return str(comment[8:].decode("utf-16-be"))


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt[:8])
def test_file_carries_its_recipe(output_format: str, prompt: str) -> None:
    recipe = make_recipe(prompt)

    data = encode_image(make_pixels(), output_format=output_format, recipe=recipe)

    assert parse_recipe(read_text(data)) == recipe


@pytest.mark.parametrize("output_format", FORMATS)
def test_file_says_that_a_model_made_it(output_format: str) -> None:
    image = Image.open(BytesIO(encode_image(make_pixels(), output_format=output_format, recipe=make_recipe())))

    packet = image.info["XML:com.adobe.xmp" if output_format == "png" else "xmp"]
    text = packet if isinstance(packet, str) else packet.decode()
    assert re.search(f"<Iptc4xmpExt:DigitalSourceType>{TRAINED_ALGORITHMIC_MEDIA}</", text)
    assert "http://iptc.org/std/Iptc4xmpExt/2008-02-29/" in text


@pytest.mark.parametrize("output_format", FORMATS)
def test_same_input_gives_the_same_bytes(output_format: str) -> None:
    first, second = (encode_image(make_pixels(), output_format=output_format, recipe=make_recipe()) for _ in range(2))

    assert first == second


@pytest.mark.parametrize(("output_format", "loss"), [("png", 0), ("jpeg", 12), ("webp", 24)])
def test_pixels_survive(output_format: str, loss: int) -> None:
    image = Image.open(BytesIO(encode_image(make_pixels(), output_format=output_format, recipe=make_recipe())))

    decoded = np.asarray(image.convert("RGB")).astype(int)
    assert image.format == output_format.upper()
    assert decoded.shape == (32, 48, 3)
    assert np.abs(decoded - make_pixels()).max() <= loss


def test_strided_pixels_are_encoded_as_they_look() -> None:
    mirrored = make_pixels()[:, ::-1]

    image = Image.open(BytesIO(encode_image(mirrored, output_format="png", recipe=make_recipe())))
    assert np.array_equal(np.asarray(image), mirrored)


def test_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="one of png, jpeg, webp"):
        encode_image(make_pixels(), output_format="gif", recipe=make_recipe())


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_pixels_of_another_kind_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="8-bit RGB"):
        encode_image(pixels, output_format="png", recipe=make_recipe())
