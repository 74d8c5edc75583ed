from __future__ import annotations

import pytest

from darkroom.params import AdapterUse, GenerationParams, StoredImage
from safety.provenance.recipe import Recipe, parse_recipe
from safety.provenance.replay import recipe_of, request_of_params, request_of_recipe
from tests.darkroom.factories import make_params

IMAGE = StoredImage(key="inputs/x/init.png", sha256="0" * 64, width=64, height=64)
CASES = {
    "plain": make_params(),
    "adapters": make_params(adapters=(AdapterUse(name="ink", scale=0.5),)),
    "guidance": make_params(guidance_rescale=0.3, guidance_stop=0.5),
    "image": make_params(init_image=IMAGE, strength=0.4),
    "mask": make_params(init_image=IMAGE, mask_image=IMAGE, strength=1.0, mask_blur=3, mask_padding=8),
    "refiner": make_params(refiner="refiner", refiner_start=0.7),
}


@pytest.mark.parametrize("params", CASES.values(), ids=CASES)
def test_a_file_gives_the_request_that_its_job_gives(params: GenerationParams) -> None:
    of_job = dict(request_of_params(params))
    only_in_the_job = {"num_images", "output_format"}

    of_file = dict(request_of_recipe(parse_recipe(recipe_of(params, 0).as_text())))

    assert of_file == {name: value for name, value in of_job.items() if name not in only_in_the_job}


def test_each_image_has_the_seed_that_it_was_made_with() -> None:
    assert [recipe_of(make_params(seed=5, num_images=3), index).seed for index in range(3)] == [5, 6, 7]


def test_unknown_scheduler_is_named() -> None:
    recipe = Recipe("x", "", 1, "Some other one", 1.0, 1, 64, 64, "tiny")

    with pytest.raises(ValueError, match="Some other one"):
        request_of_recipe(recipe)
