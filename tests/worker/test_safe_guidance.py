"""Safe guidance by policy: what the engine is asked for, and what the file says of it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.jobs import Job
from engine.safe_guidance import CONCEPT, LEVELS, Level
from safety.policy import SAFETY_LEVELS, Policy, SafeGuidancePolicy, load_policy
from safety.provenance.recipe import parse_recipe
from tests.darkroom.factories import make_params
from tests.worker.workshop import Workshop
from worker.images import safe_guidance

DEFAULT = load_policy("default")


def with_guidance(**chosen: Any) -> Policy:
    return DEFAULT.model_copy(update={"safe_guidance": SafeGuidancePolicy(**chosen)})


def test_a_policy_that_says_nothing_keeps_images_away_from_nothing() -> None:
    assert safe_guidance(DEFAULT, make_params()) is None


def test_policies_know_the_levels_of_the_engine() -> None:
    assert ("off", *LEVELS) == SAFETY_LEVELS


@pytest.mark.parametrize("level", LEVELS)
def test_the_policys_level_and_concept_reach_the_engine(level: Level) -> None:
    chosen = safe_guidance(with_guidance(level=level, concept="a star"), make_params(num_inference_steps=50))

    assert chosen is not None
    assert (chosen.concept, chosen.scale) == ("a star", LEVELS[level].scale)
    assert chosen.warmup_steps == LEVELS[level].warmup_steps


def test_without_a_concept_it_is_the_published_topics() -> None:
    chosen = safe_guidance(with_guidance(level="weak"), make_params())

    assert chosen is not None
    assert chosen.concept == CONCEPT


def test_few_steps_are_no_way_round_it() -> None:
    chosen = safe_guidance(with_guidance(level="medium"), make_params(num_inference_steps=4))

    assert chosen is not None
    assert chosen.warmup_steps == 0


def made(shop: Workshop, policy: Policy) -> tuple[np.ndarray, str | None]:
    """The stored pixels of the same job under a policy, and the safe guidance that its file tells."""
    shop.policy = policy
    job: Job = shop.submit(seed=4, num_inference_steps=8)
    shop.run()
    with Image.open(io.BytesIO(shop.objects.get(shop.get(job).images[0].key))) as image:
        return np.asarray(image, np.int16), parse_recipe(image.info["parameters"]).safe_guidance


def test_a_jobs_image_is_made_with_its_policys_safe_guidance_and_says_so(shop: Workshop) -> None:
    plain, nothing = made(shop, DEFAULT)
    away, level = made(shop, with_guidance(level="max", concept="a yellow star"))

    assert (nothing, level) == (None, "max")
    assert np.abs(away - plain).max() > 0
