"""Input images on their way from the store to the engine, and away with their job."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from darkroom.errors import InputUnavailable
from darkroom.job_store import Claim
from darkroom.jobs import JobStatus
from darkroom.object_store import LocalObjectStore, input_key, job_places
from darkroom.params import AdapterUse, StoredImage
from safety.provenance.recipe import parse_recipe
from tests.darkroom.factories import make_params
from tests.fixtures.processes import eventually
from tests.worker.workshop import LONG, Running, Workshop
from worker.images import image_request, prefixes
from worker.inputs import JobInputs, load_inputs

PICTURE = np.arange(24 * 16 * 3, dtype=np.uint8).reshape(16, 24, 3)
MASK = np.eye(16, 24, dtype=np.uint8) * 255


def put(objects: LocalObjectStore, key: str, pixels: np.ndarray) -> StoredImage:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = buffer.getvalue()
    objects.put(key, data, "image/png")
    height, width = pixels.shape[:2]
    return StoredImage(key=key, sha256=hashlib.sha256(data).hexdigest(), width=width, height=height)


def test_arrays_are_the_stored_pixels(objects: LocalObjectStore) -> None:
    params = make_params(
        init_image=put(objects, "inputs/job/init.png", PICTURE), mask_image=put(objects, "inputs/job/mask.png", MASK)
    )

    inputs = load_inputs(params, objects)

    assert inputs.init is not None
    assert inputs.mask is not None
    np.testing.assert_array_equal(inputs.init, PICTURE)
    np.testing.assert_array_equal(inputs.mask, MASK)


def test_a_job_without_pictures_reads_nothing(objects: LocalObjectStore) -> None:
    inputs = load_inputs(make_params(), objects)

    assert (inputs.init, inputs.mask) == (None, None)


def test_a_missing_or_changed_picture_is_not_used(objects: LocalObjectStore) -> None:
    stored = put(objects, "inputs/job/init.png", PICTURE)
    put(objects, "inputs/job/init.png", PICTURE[::-1])

    for image in (stored, stored.model_copy(update={"key": "inputs/job/gone.png"})):
        with pytest.raises(InputUnavailable):
            load_inputs(make_params(init_image=image), objects)


def test_every_field_reaches_the_engine() -> None:
    params = make_params(
        adapters=(AdapterUse(name="ink", scale=0.5),), strength=0.6, mask_blur=4, mask_padding=8, guidance_rescale=0.3,
        guidance_stop=0.7, refiner="polish", refiner_start=0.9, preview_every=5, seed=7,
    )  # fmt: skip
    inputs = JobInputs(PICTURE, MASK)

    request = image_request(params, 2, inputs=inputs, deadline=None, previews=True)

    for name in ("strength", "mask_blur", "mask_padding", "guidance_rescale", "guidance_stop", "refiner",
                 "refiner_start", "preview_every"):  # fmt: skip
        assert getattr(request, name) == getattr(params, name), name
    assert [(use.name, use.scale) for use in request.adapters] == [("ink", 0.5)]
    assert (request.init_image is PICTURE, request.mask_image is MASK, request.seed) == (True, True, 9)


def test_previews_are_made_only_where_somebody_takes_them() -> None:
    params = make_params(preview_every=5)

    assert image_request(params, 0, inputs=JobInputs(), deadline=None, previews=False).preview_every == 0


def test_previews_go_to_whoever_takes_them_with_claim_and_image(shop: Workshop) -> None:
    taken: list[tuple[str, int, int, tuple[int, ...]]] = []

    def take(claim: Claim, index: int) -> Callable[[int, np.ndarray], None]:
        return lambda step, picture: taken.append((claim.job.id, index, step, picture.shape))

    job = shop.submit(num_images=2, num_inference_steps=6, preview_every=2)
    shop.previews = take

    shop.run()

    assert {(job_id, index, step) for job_id, index, step, _ in taken} == {
        (job.id, index, step) for index in (0, 1) for step in (2, 4)
    }
    assert all(max(shape[:2]) <= 128 and shape[2] == 3 for *_, shape in taken)


def test_a_job_whose_picture_is_gone_fails_with_its_code(shop: Workshop) -> None:
    gone = StoredImage(key="inputs/job/init.png", sha256="0" * 64, width=64, height=64)
    job = shop.submit(init_image=gone, strength=0.5)

    shop.run()

    done = shop.get(job)
    assert done.status is JobStatus.FAILED
    assert done.error is not None
    assert done.error.code == "input_unavailable"


def test_the_file_says_what_it_was_made_of(shop: Workshop) -> None:
    init = put(shop.objects, "inputs/job/init.png", np.full((64, 64, 3), 90, np.uint8))
    job = shop.submit(init_image=init, strength=0.5, guidance_rescale=0.25)

    shop.run()

    done = shop.get(job)
    assert done.status is JobStatus.SUCCEEDED, done.error
    with Image.open(io.BytesIO(shop.objects.get(done.images[0].key))) as image:
        recipe = parse_recipe(image.info["parameters"])
    assert (recipe.init_image, recipe.strength, recipe.guidance_rescale) == (init.sha256, 0.5, 0.25)


def test_from_an_image_only_its_share_of_the_steps_is_run(shop: Workshop) -> None:
    init = put(shop.objects, "inputs/job/init.png", np.full((64, 64, 3), 90, np.uint8))
    job = shop.submit(init_image=init, strength=0.5, num_inference_steps=LONG)
    run = Running(shop.runner(), shop.claim())

    eventually(lambda: shop.get(job).progress.step > 0)
    shop.drain.begin()
    run.result()

    assert shop.get(job).progress.steps == int(0.5 * LONG)


def test_a_part_painted_apart_is_put_back_into_its_image(shop: Workshop) -> None:
    start, mask = np.full((80, 96, 3), 90, np.uint8), np.zeros((80, 96), np.uint8)
    mask[8:40, 8:40] = 255
    job = shop.submit(
        init_image=put(shop.objects, "inputs/job/init.png", start),
        mask_image=put(shop.objects, "inputs/job/mask.png", mask),
        mask_padding=8,
    )

    shop.run()

    image = shop.get(job).images[0]
    with Image.open(io.BytesIO(shop.objects.get(image.key))) as out:
        pixels = np.asarray(out)
    assert (image.width, image.height) == (96, 80)
    np.testing.assert_array_equal(pixels[60:], start[60:])
    assert (pixels[10:38, 10:38] != 90).any()


def test_inputs_go_with_the_record_and_not_with_an_attempt(shop: Workshop) -> None:
    job = shop.submit()
    claim = shop.claim()

    assert input_key(job.id, "init").startswith(job_places(job.id)[-1])
    assert not any(place.startswith("inputs/") for place in prefixes(claim))


def test_a_job_whose_adapter_this_worker_lacks_fails_with_its_code(shop: Workshop) -> None:
    job = shop.submit(adapters=(AdapterUse(name="ghost", scale=1.0),))

    shop.run()

    error = shop.get(job).error
    assert error is not None
    assert error.code == "unknown_adapter"
