"""docs/exactness.md is what its program shows, and all of it is within the bound."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.exactness import table
from bench.parity import BOUND

PAGE = Path(__file__).parents[2] / "docs" / "exactness.md"
_ROW = re.compile(r"^\| (.+?) \| (.+?) \| (\d+) \| (\S+) \| (\S+) \|$", re.MULTILINE)
_BEYOND = re.compile(r"^- (.+) is (\S+) off; .* diffusers' own image by (\S+)\.$", re.MULTILINE)


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_feature_that_the_program_measures_has_its_row(page: str, tmp_path: Path) -> None:
    rows = [(model, feature, int(images)) for model, feature, images, _, _ in _ROW.findall(page)]

    assert rows == table(tmp_path)


def test_every_figure_is_within_the_bound_where_the_references_own_rounding_is(page: str) -> None:
    rows = _ROW.findall(page)
    beyond = {f"{model}, {feature}" for model, feature, _, *figures in rows if max(map(float, figures)) > BOUND}
    told = {what: (float(off), float(own)) for what, off, own in _BEYOND.findall(page)}

    assert rows
    assert told.keys() == beyond
    assert all(off <= 10 * own for off, own in told.values())
    assert f"Bound: {BOUND:g}." in page


@pytest.mark.parametrize(
    "feature",
    [
        "Euler",
        "image to image",
        "inpainting",
        "SDXL base",
        "SDXL base and refiner",
        "LoRAs stacked",
        "prompt weights",
        "prompts of several chunks",
        "textual inversion",
        "guidance_rescale",
        "guidance_stop",
        "safe guidance",
    ],
)
def test_the_page_shows(feature: str, page: str) -> None:
    assert any(name.startswith(feature) for _, name, *_ in _ROW.findall(page))
