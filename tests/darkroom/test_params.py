"""What a caller may ask for, and how it is completed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from darkroom.errors import InvalidParams
from darkroom.params import MAX_IMAGES, MAX_SEED, GenerationParams, GenerationRequest, resolve
from tests.darkroom.factories import make_catalogue, make_model


def _request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.model_validate_json(json.dumps({"prompt": "a red circle"} | fields))


def _resolve(*models: Any, tokens: int | None = 5, **fields: Any) -> tuple[GenerationParams, tuple[str, ...]]:
    return resolve(
        _request(**fields),
        catalogue=make_catalogue(*models),
        draw_seed=lambda: 99,
        count_tokens=lambda _model, _text: tokens,
    )


def _problem(**fields: Any) -> Any:
    with pytest.raises(InvalidParams) as caught:
        _resolve(**fields)
    (problem,) = caught.value.problems
    return problem


def test_prompt_alone_becomes_a_complete_recipe() -> None:
    params, warnings = _resolve()

    assert params == GenerationParams(
        prompt="a red circle", negative_prompt="", model="tiny", width=128, height=128, num_inference_steps=25,
        guidance_scale=5.0, scheduler="dpmpp_2m", seed=99, num_images=1, output_format="png",
    )  # fmt: skip
    assert warnings == ()


def test_what_the_caller_says_is_kept_zero_too() -> None:
    params, _ = _resolve(seed=0, guidance_scale=0, width=64, height=192, num_inference_steps=9, scheduler="euler")

    assert (params.seed, params.guidance_scale, params.width, params.height) == (0, 0.0, 64, 192)
    assert (params.num_inference_steps, params.scheduler) == (9, "euler")


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": "x" * 2_001},
        {"prompt": 7},
        {"prompt": None},
        {"prompt": "a\x00b"},
        {"prompt": "a\x1bb"},
        {"negative_prompt": "x" * 2_001},
        {"colour": "red"},
        {"width": 7},
        {"width": "128"},
        {"width": 128.5},
        {"height": True},
        {"height": 8_200},
        {"num_inference_steps": 0},
        {"num_inference_steps": 1_001},
        {"guidance_scale": -0.1},
        {"guidance_scale": 30.1},
        {"seed": -1},
        {"seed": MAX_SEED + 1},
        {"seed": 10**30},
        {"num_images": 0},
        {"num_images": MAX_IMAGES + 1},
        {"tier": "vip"},
        {"output_format": "gif"},
        {"deadline_seconds": 0},
        {"deadline_seconds": 86_401},
        {"metadata": {"": "x"}},
        {"metadata": {"k": 1}},
        {"metadata": {"k": "x" * 513}},
        {"metadata": {f"k{i}": "x" for i in range(17)}},
        {"metadata": ["a"]},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_field_outside_its_limits_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _request(**fields)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    with pytest.raises(ValidationError):
        GenerationRequest.model_validate_json(f'{{"prompt": "x", "guidance_scale": {number}}}')


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValidationError):
        GenerationRequest(prompt="a\ud800b")


def test_limits_themselves_are_legal() -> None:
    request = _request(prompt="é" * 2_000, seed=MAX_SEED, num_images=MAX_IMAGES, guidance_scale=30, metadata={"k": ""})

    assert request.seed + request.num_images - 1 < 2**63


@pytest.mark.parametrize(
    ("fields", "field", "nearest"),
    [
        ({"width": 130}, "width", 128),
        ({"width": 56}, "width", 64),
        ({"height": 264}, "height", 256),
        ({"width": 256, "height": 256}, "height", 192),
        ({"model": "tinny"}, "model", "tiny"),
        ({"scheduler": "eular"}, "scheduler", "euler"),
        ({"scheduler": "lcm", "num_inference_steps": 51}, "num_inference_steps", 50),
        ({"num_inference_steps": 1_000}, "num_inference_steps", 999),
    ],
)
def test_what_the_model_cannot_do_is_named_with_the_nearest_value(
    fields: dict[str, Any], field: str, nearest: object
) -> None:
    problem = _problem(**fields)

    assert (problem.field, problem.nearest) == (field, nearest)
    assert problem.limit


def test_nearest_size_is_itself_legal() -> None:
    for width in range(8, 400, 4):
        request = {"width": width, "height": 128}
        try:
            _resolve(**request)
        except InvalidParams as error:
            nearest = error.problems[0].nearest
            _resolve(**(request | {error.problems[0].field: nearest}))


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(InvalidParams) as caught:
        _resolve(width=130, height=20, scheduler="none")

    assert [problem.field for problem in caught.value.problems] == ["width", "height", "scheduler"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"guidance_scale": 15.5}, "guidance_scale"),
        ({"num_inference_steps": 7}, "steps"),
        ({"width": 64}, "64x128"),
    ],
)
def test_unwise_value_is_warned_about(fields: dict[str, Any], word: str) -> None:
    _, warnings = _resolve(**fields)

    assert len(warnings) == 1
    assert word in warnings[0]


def test_few_steps_are_wise_with_a_few_step_model_and_scheduler() -> None:
    model = make_model(few_step=True, scheduler="lcm", num_inference_steps=4)

    assert _resolve(model)[1] == ()
    assert len(_resolve(model, scheduler="euler")[1]) == 1


@pytest.mark.parametrize(("tokens", "warned"), [(None, 0), (77, 0), (78, 2)])
def test_truncated_text_is_warned_about_without_being_shown(tokens: int | None, warned: int) -> None:
    _, warnings = _resolve(tokens=tokens, negative_prompt="a blue square")

    assert len(warnings) == warned
    assert not any("circle" in warning or "square" in warning for warning in warnings)


@pytest.mark.parametrize("kind", [GenerationRequest, GenerationParams])
def test_repr_holds_no_prompt(kind: type) -> None:
    params, _ = _resolve(prompt="canary", negative_prompt="canary")
    value = params if kind is GenerationParams else _request(prompt="canary", negative_prompt="canary")

    assert "canary" not in repr(value)
    assert "canary" not in str(value)
