"""Which image checks a worker's settings build, and what a policy that forbids a stand-in does with real pictures."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from darkroom.errors import CheckUnavailable, ConfigurationError, JobStoreUnavailable
from darkroom.settings import ImageCheckSettings
from safety.image.embedder import ImageEmbedder
from safety.image.references import References, save_references
from safety.policy import load_policy
from safety.provenance.phash import looks_of
from safety.subjects import ImageSubject
from safety.verdict import Decision
from training.painter import paint
from training.scenes import Combination, scene_of
from worker.safety_checks import build_image_checks, image_pipeline

MODELS = Path(__file__).parents[2] / "models"
STAND_IN = ImageCheckSettings(
    image_embedder=MODELS / "darkroom-tiny-clip", concept_checker=MODELS / "darkroom-tiny-checker"
)


def nothing_barred() -> set[int]:
    return set()


def picture(colour: str, shape: str = "circle", background: str = "blue") -> ImageSubject:
    scene = scene_of(Combination(shape, colour, background), random.Random(4))
    return ImageSubject(np.asarray(paint(scene)))


def test_barred_images_are_looked_for_without_any_setting() -> None:
    checks = build_image_checks(ImageCheckSettings(), barred=nothing_barred)

    assert [check.name for check in checks] == ["image_barred"]


def test_every_configured_check_is_built_and_the_cheap_ones_come_first(tmp_path: Path) -> None:
    embedder = ImageEmbedder(MODELS / "darkroom-tiny-clip")
    save_references(tmp_path / "set.npz", References.empty(embedder.sha256, dimensions=embedder.dimensions))
    settings = ImageCheckSettings(
        image_embedder=MODELS / "darkroom-tiny-clip",
        concept_checker=MODELS / "darkroom-tiny-checker",
        references=tmp_path / "set.npz",
        watermark_detector=MODELS / "darkroom-tiny-overlay",
    )

    names = [check.name for check in build_image_checks(settings, barred=nothing_barred)]

    assert names == ["image_barred", "image_watermark", "image_concepts_stand-in", "image_similarity"]


@pytest.mark.parametrize("variable", ["safety_checker", "watermark_detector"])
def test_model_that_is_not_there_stops_the_start(variable: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        build_image_checks(ImageCheckSettings(**{variable: tmp_path / "nowhere"}), barred=nothing_barred)


@pytest.mark.parametrize(
    "given", [{"image_classifier": "folder"}, {"concept_checker": "folder"}, {"references": "set"}]
)
def test_half_a_check_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"belong together|need DARKROOM_IMAGE_EMBEDDER"):
        ImageCheckSettings(**given)  # type: ignore[arg-type]


def test_stand_in_policy_refuses_red_shapes_and_lets_others_pass() -> None:
    pipeline = image_pipeline(load_policy("stand-in"), build_image_checks(STAND_IN, barred=nothing_barred))

    verdicts = pipeline.check_images([picture("red"), picture("green")])

    assert [(v.decision, v.reason) for v in verdicts] == [(Decision.BLOCK, "image_custom"), (Decision.ALLOW, None)]


def test_stand_in_policy_is_refused_where_its_checker_is_not_configured() -> None:
    with pytest.raises(ConfigurationError, match="image_concepts_stand-in"):
        image_pipeline(load_policy("stand-in"), build_image_checks(ImageCheckSettings(), barred=nothing_barred))


def test_default_policy_refuses_what_was_taken_down() -> None:
    taken_down = picture("green")
    barred = {looks_of(taken_down.pixels) or 0}
    pipeline = image_pipeline(load_policy(), build_image_checks(ImageCheckSettings(), barred=lambda: barred))

    verdicts = pipeline.check_images([taken_down, picture("yellow", "star", "black")])

    assert [verdict.decision for verdict in verdicts] == [Decision.BLOCK, Decision.ALLOW]


def test_nothing_leaves_while_the_barred_list_can_not_be_read() -> None:
    def unreadable() -> set[int]:
        raise JobStoreUnavailable

    pipeline = image_pipeline(load_policy(), build_image_checks(ImageCheckSettings(), barred=unreadable))

    with pytest.raises(CheckUnavailable):
        pipeline.check_images([picture("green")])
