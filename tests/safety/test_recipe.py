from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safety.provenance.recipe import Recipe, parse_recipe

# What the API accepts: no lone surrogates, no control characters except white space.
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\t\n\r"), max_size=60)


def make_recipe(**changes: object) -> Recipe:
    recipe = Recipe(
        prompt="a red circle on a blue background",
        negative_prompt="blurry",
        steps=25,
        scheduler="DPM++ 2M Karras",
        guidance_scale=7.5,
        seed=42,
        width=128,
        height=96,
        model="darkroom-tiny",
        version="0.1.0",
    )
    return replace(recipe, **changes)  # type: ignore[arg-type]


def test_text_is_what_other_tools_read() -> None:
    assert make_recipe().as_text() == (
        "a red circle on a blue background\n"
        "Negative prompt: blurry\n"
        "Steps: 25, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 42, Size: 128x96, Model: darkroom-tiny, "
        "Version: darkroom 0.1.0"
    )


def test_empty_negative_prompt_has_no_line() -> None:
    assert "Negative prompt" not in make_recipe(negative_prompt="").as_text()


@pytest.mark.parametrize(
    ("scale", "text"), [(7.0, "7"), (7, "7"), (1.1, "1.1"), (0.30000000000000004, "0.30000000000000004")]
)
def test_guidance_is_written_shortest_and_exact(scale: float, text: str) -> None:
    rendered = make_recipe(guidance_scale=scale).as_text()

    assert f"CFG scale: {text}," in rendered
    assert parse_recipe(rendered).guidance_scale == scale


@pytest.mark.parametrize("model", ["mine, v2", "a:b", 'the "best"', " padded ", 'C:\\models, "x"'])
def test_value_with_separators_is_quoted(model: str) -> None:
    recipe = make_recipe(model=model)

    assert 'Model: "' in recipe.as_text()
    assert parse_recipe(recipe.as_text()) == recipe


ADAPTERS = st.lists(st.tuples(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True), st.floats(-2, 2))).map(tuple)


def test_adapters_stand_behind_the_prompt_as_other_tools_write_them() -> None:
    text = make_recipe(adapters=(("ink", 0.8), ("neon", -1.0))).as_text()

    assert text.startswith("a red circle on a blue background <lora:ink:0.8> <lora:neon:-1>\nNegative prompt: blurry\n")


def test_what_an_image_started_from_is_said() -> None:
    recipe = make_recipe(
        init_image="a" * 64, strength=0.6, mask_image="b" * 64, mask_blur=4, mask_padding=0, guidance_rescale=0.3,
        guidance_stop=0.75, refiner="polish", refiner_start=0.8,
    )  # fmt: skip

    text = recipe.as_text()

    assert f"Denoising strength: 0.6, Init image hash: {'a' * 64}, Mask hash: {'b' * 64}, Mask blur: 4" in text
    assert "Masked area padding: 0, CFG rescale: 0.3, CFG stop: 0.75, Refiner: polish, Refiner switch at: 0.8" in text
    assert parse_recipe(text) == recipe


@given(TEXT, ADAPTERS)
@example("a <lora:x:1>", (("ink", 0.5),))
@example("a <lora:x:1>", ())
@example("a <lora:x:1e->", ())
@example("a\nNegative prompt: b", (("ink", 1.0),))
def test_any_adapters_survive_the_round_trip(prompt: str, adapters: tuple[tuple[str, float], ...]) -> None:
    recipe = make_recipe(prompt=prompt, adapters=adapters)

    assert parse_recipe(recipe.as_text()) == recipe


@given(TEXT, TEXT)
@example("a\nNegative prompt: b", "")
@example("a\nNegative prompt: b", "c")
@example("a\nSteps: 1, Sampler: x, CFG scale: 2, Seed: 3, Size: 4x4, Model: m, Version: v", "")
@example("a", "b\nNegative prompt: c")
@example("", "")
@example("trailing\n\n", "\nlead")
def test_any_text_survives_the_round_trip(prompt: str, negative_prompt: str) -> None:
    recipe = make_recipe(prompt=prompt, negative_prompt=negative_prompt)

    assert parse_recipe(recipe.as_text()) == recipe


def test_ordinary_texts_need_no_further_pairs() -> None:
    assert "Darkroom prompt" not in make_recipe(prompt="two\nlines, with: pairs").as_text()
    assert "Darkroom prompt" in make_recipe(prompt="a\nNegative prompt: b").as_text()


@pytest.mark.parametrize(
    "text",
    ["", "a red circle", "a\nSteps: 1, Seed: 2", "a\nSteps: 1, Seed: 2, Size: 3x3", 'Steps: "1, Seed: 2, Size: 3'],
)
def test_text_without_a_recipe_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="holds no recipe"):
        parse_recipe(text)
