"""What a caller may ask for, in form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from darkroom.params import MAX_IMAGES, MAX_SEED, GenerationParams, GenerationRequest
from tests.darkroom.factories import make_params


def _request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.model_validate_json(json.dumps({"prompt": "a red circle"} | fields))


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
        {"init_image": 7},
        {"mask_image": ["a"]},
        {"strength": 0},
        {"strength": 1.01},
        {"strength": "0.5"},
        {"mask_blur": -1},
        {"mask_blur": 65},
        {"mask_padding": 513},
        {"mask_padding": 1.5},
        {"adapters": {"name": "ink"}},
        {"adapters": "ink"},
        {"adapters": ["ink"]},
        {"adapters": [{}]},
        {"adapters": [{"name": ""}]},
        {"adapters": [{"name": "ink", "weight": 1}]},
        {"adapters": [{"name": "ink", "scale": 2.1}]},
        {"adapters": [{"name": "ink", "scale": "1"}]},
        {"adapters": [{"name": "ink", "scale": 1e999}]},
        {"adapters": [{"name": f"ink{i}"} for i in range(9)]},
        {"guidance_rescale": 1.1},
        {"guidance_stop": 0},
        {"refiner_start": 0},
        {"refiner_start": 1},
        {"preview_every": -1},
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


@pytest.mark.parametrize("kind", [GenerationRequest, GenerationParams])
def test_repr_holds_no_prompt(kind: type) -> None:
    texts = {"prompt": "canary", "negative_prompt": "canary"}
    pictures = {"init_image": "canary", "mask_image": "canary"}
    value = make_params(**texts) if kind is GenerationParams else _request(**texts, **pictures)

    assert "canary" not in repr(value)
    assert "canary" not in str(value)
