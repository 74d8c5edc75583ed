"""How a request is completed, what a model can't do, and what is legal but unwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.capabilities import InputImages
from darkroom.catalogue import AdapterSpec, Catalogue
from darkroom.errors import InvalidParams
from darkroom.params import AdapterUse, GenerationParams, GenerationRequest, StoredImage
from darkroom.prompt_chunks import MAX_CHUNKS, Plan
from darkroom.resolve import resolve
from tests.darkroom.factories import make_catalogue, make_model

MODELS = (
    make_model(),
    make_model(name="painter", inpaint="native"),
    make_model(name="plain", inpaint="none"),
    make_model(name="big", family="sdxl", refiner="polish"),
    make_model(name="polish", family="sdxl"),
)


def _adapter(name: str, **changes: Any) -> AdapterSpec:
    values = {"name": name, "model": "tiny", "file": Path(f"{name}.safetensors"), "sha256": "0" * 64, "licence": "MIT"}
    return AdapterSpec(**(values | changes))


ADAPTERS = (
    _adapter("ink", default_scale=0.7),
    _adapter("neon"),
    _adapter("gold", model="big"),
    _adapter("logo", owners=("ada",)),
)


def _catalogue(*models: Any) -> Catalogue:
    return make_catalogue(*(models or MODELS)).model_copy(update={"adapters": {spec.name: spec for spec in ADAPTERS}})


def _image(width: int = 128, height: int = 128) -> StoredImage:
    return StoredImage(key="inputs/job/init.png", sha256="0" * 64, width=width, height=height)


TEXT = InputImages()
INIT = InputImages(_image())
MASKED = InputImages(_image(), _image())


def _request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.model_validate_json(json.dumps({"prompt": "a red circle"} | fields))


def _resolve(
    *models: Any, tokens: int | None = 2, owner: str = "bob", images: InputImages = TEXT, **fields: Any
) -> tuple[GenerationParams, tuple[str, ...]]:
    return resolve(
        _request(**fields),
        catalogue=_catalogue(*models),
        owner=owner,
        images=images,
        draw_seed=lambda: 99,
        read_prompt=lambda _model, _text: None if tokens is None else Plan(((),) * MAX_CHUNKS, tokens),
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


@pytest.mark.parametrize(("tokens", "warned"), [(None, 0), (2, 0), (3, 2)])
def test_truncated_text_is_warned_about_without_being_shown(tokens: int | None, warned: int) -> None:
    _, warnings = _resolve(tokens=tokens, negative_prompt="a blue square")

    assert len(warnings) == warned
    assert not any("circle" in warning or "square" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("images", "fields", "expected"),
    [
        (TEXT, {}, 1.0),
        (INIT, {}, 0.8),
        (MASKED, {}, 1.0),
        (INIT, {"strength": 0.3}, 0.3),
        (MASKED, {"strength": 1}, 1.0),
    ],
)
def test_strength_left_out_depends_on_what_there_is_to_start_from(
    images: InputImages, fields: dict[str, Any], expected: float
) -> None:
    params, _ = _resolve(images=images, **fields)

    assert params.strength == expected
    assert (params.init_image, params.mask_image) == (images.init, images.mask)


def test_everything_about_an_image_is_kept() -> None:
    fields = {"mask_blur": 4, "mask_padding": 16, "guidance_rescale": 0.5, "guidance_stop": 0.75, "preview_every": 5}

    params, warnings = _resolve(images=MASKED, **fields)

    assert fields.items() <= params.model_dump().items()
    assert warnings == ()


@pytest.mark.parametrize(
    ("images", "fields", "field", "word"),
    [
        (InputImages(mask=_image()), {}, "mask_image", "needs init_image"),
        (InputImages(_image(), _image(64, 128)), {}, "mask_image", "must have 128x128 pixels"),
        (InputImages(_image(), _image(), mask_is_blank=True), {}, "mask_image", "black everywhere"),
        (MASKED, {"model": "plain"}, "mask_image", "can't paint into images"),
        (INIT, {"model": "painter"}, "mask_image", "needs init_image and mask_image"),
        (TEXT, {"strength": 0.5}, "strength", "no effect without init_image"),
        (INIT, {"mask_blur": 2}, "mask_blur", "no effect without mask_image"),
        (INIT, {"mask_padding": 2}, "mask_padding", "no effect without mask_image"),
        (TEXT, {"refiner_start": 0.8}, "refiner_start", "tiny has no refiner"),
    ],
)
def test_what_a_model_cannot_do_with_images_is_said(
    images: InputImages, fields: dict[str, Any], field: str, word: str
) -> None:
    problem = _problem(images=images, **fields)

    assert problem.field == field
    assert word in problem.message
    assert problem.limit


def test_an_inpainting_model_alone_needs_both_pictures() -> None:
    with pytest.raises(InvalidParams) as caught:
        _resolve(model="painter")

    assert [problem.field for problem in caught.value.problems] == ["init_image", "mask_image"]


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 25, 49, 300])
def test_strength_that_gives_no_step_is_refused_with_the_least_that_does(steps: int) -> None:
    problem = _problem(images=INIT, num_inference_steps=steps, strength=0.9 / steps)

    assert problem.field == "strength"
    _resolve(images=INIT, num_inference_steps=steps, strength=problem.nearest)


@pytest.mark.parametrize(
    ("image", "fields", "size"),
    [
        ((128, 128), {}, (128, 128)),
        ((130, 125), {}, (128, 128)),
        ((4096, 4096), {}, (216, 216)),  # within 256 x 192 pixels in all
        ((4000, 1000), {}, (256, 64)),
        ((10, 20), {}, (64, 128)),
        ((1, 4096), {}, (64, 256)),
        ((200, 100), {"width": 128}, (128, 64)),
        ((200, 100), {"height": 64}, (128, 64)),
        ((200, 100), {"width": 64, "height": 64}, (64, 64)),
    ],
)
def test_a_size_left_out_is_taken_from_the_image(
    image: tuple[int, int], fields: dict[str, int], size: tuple[int, int]
) -> None:
    params, warnings = _resolve(images=InputImages(_image(*image)), **fields)

    assert (params.width, params.height) == size
    noted = [warning for warning in warnings if "taken from init_image" in warning]
    assert bool(noted) == (size != image and len(fields) < 2)


def test_every_size_taken_from_an_image_is_legal() -> None:
    for width in (1, 63, 64, 77, 250, 1000, 4096):
        for height in (1, 65, 200, 256, 999, 4096):
            _resolve(images=InputImages(_image(width, height)))


def test_a_size_that_is_said_is_never_snapped() -> None:
    assert _problem(images=INIT, width=130, height=128).nearest == 128


def test_adapters_get_their_own_scale_where_none_is_said() -> None:
    params, _ = _resolve(adapters=[{"name": "ink"}, {"name": "neon", "scale": -1.5}])

    assert params.adapters == (AdapterUse(name="ink", scale=0.7), AdapterUse(name="neon", scale=-1.5))


@pytest.mark.parametrize(
    ("adapters", "field", "word", "nearest"),
    [
        (["inc"], "adapters[0].name", "no such adapter", "ink"),
        (["ink", "nein"], "adapters[1].name", "no such adapter", "neon"),
        (["gold"], "adapters[0].name", "made for model big, not for tiny", None),
        (["ink", "neon", "ink"], "adapters[2].name", "named twice", None),
    ],
)
def test_adapters_that_do_not_fit_are_named(adapters: list[str], field: str, word: str, nearest: str | None) -> None:
    problem = _problem(adapters=[{"name": name} for name in adapters])

    assert problem.field == field
    assert word in problem.message
    if nearest:
        assert problem.nearest == nearest


def test_an_adapter_of_others_is_as_one_that_does_not_exist() -> None:
    theirs, unknown = _problem(adapters=[{"name": "logo"}]), _problem(adapters=[{"name": "lagu"}])

    assert theirs == unknown
    assert "logo" not in f"{theirs.limit} {theirs.nearest}"
    assert _resolve(owner="ada", adapters=[{"name": "logo"}])[0].adapters[0].name == "logo"


def test_a_model_without_adapters_says_so() -> None:
    assert "no adapters for model plain" in _problem(model="plain", adapters=[{"name": "x"}]).limit


def test_a_refiner_is_used_only_when_asked_for() -> None:
    assert _resolve(model="big")[0].refiner is None
    assert _resolve(model="big", refiner_start=0.7)[0].refiner == "polish"


@pytest.mark.parametrize(
    ("images", "fields", "nearest"),
    [
        (TEXT, {"refiner_start": 0.99, "num_inference_steps": 20}, 0.95),
        (TEXT, {"refiner_start": 0.01, "num_inference_steps": 20}, 0.05),
        (INIT, {"refiner_start": 0.5, "num_inference_steps": 10, "strength": 0.5}, 0.6),
    ],
)
def test_a_refiner_leaves_the_model_and_itself_a_step(
    images: InputImages, fields: dict[str, Any], nearest: float
) -> None:
    problem = _problem(images=images, model="big", **fields)

    assert (problem.field, problem.nearest) == ("refiner_start", nearest)
    _resolve(images=images, model="big", **{**fields, "refiner_start": nearest})


def test_a_refiner_needs_two_steps() -> None:
    assert _problem(model="big", refiner_start=0.5, num_inference_steps=1).field == "num_inference_steps"


@pytest.mark.parametrize("field", ["guidance_rescale", "guidance_stop"])
def test_guidance_fields_of_an_unguided_job_are_warned_about(field: str) -> None:
    _, warnings = _resolve(guidance_scale=1, **{field: 0.5})

    assert len(warnings) == 1
    assert f"{field} has no effect" in warnings[0]
