"""Builds a worker's image checks from the settings, cheap ones first.

Only what is configured is built: the list of barred images always, models where a folder of them is named. What can't
be loaded stops the start, and so does a policy that requires a check which isn't there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from darkroom.errors import ConfigurationError
from darkroom.settings import ImageCheckSettings
from safety.image.barred import BarredCheck
from safety.image.classifier import ImageClassifierCheck, load_image_label_table
from safety.image.concepts import load_concepts, load_safety_checker
from safety.image.embedder import ImageEmbedder
from safety.image.nudenet import load_nudenet
from safety.image.similarity import SimilarityCheck
from safety.image.watermark_text import load_watermark_check
from safety.pipeline import Check, Observe, SafetyPipeline, unobserved
from safety.policy import Policy
from safety.subjects import ImageSubject
from safety.verdict import Stage

ImageCheck = Check[ImageSubject]


def build_image_checks(
    settings: ImageCheckSettings, *, barred: Callable[[], Collection[int]]
) -> tuple[ImageCheck, ...]:
    """Every check that the settings ask for, loaded.

    Args:
        settings: which models, and where they are.
        barred: reads the perceptual hashes of images that were taken down.

    Raises:
        ConfigurationError: a model can't be loaded, or two checks bear one name.
    """
    checks = (BarredCheck(barred, most_bits=settings.barred_bits), *_models(settings))
    names = [check.name for check in checks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"two image checks are named {twice}")
    return checks


def image_pipeline(policy: Policy, checks: tuple[ImageCheck, ...], *, observe: Observe = unobserved) -> SafetyPipeline:
    """The image stage of a process.

    Raises:
        ConfigurationError: the policy requires a check that isn't there, or shows previews that no check has to see.
    """
    present = {check.name for check in checks}
    required = policy.required_checks(Stage.IMAGE)
    if missing := [name for name in required if name not in present]:
        raise ConfigurationError(f"policy {policy.label} requires the image check {missing[0]}, which is not there")
    if policy.image.previews and not required:
        raise ConfigurationError(f"policy {policy.label} allows previews, but requires no image check to look at them")
    return SafetyPipeline(policy=policy, image_checks=checks, observe=observe)


def _models(settings: ImageCheckSettings) -> Iterator[ImageCheck]:
    if settings.watermark_detector:
        yield load_watermark_check(settings.watermark_detector)
    yield from _by_vectors(settings)
    if settings.image_classifier and settings.image_labels:
        yield ImageClassifierCheck(settings.image_classifier, load_image_label_table(settings.image_labels))
    if settings.safety_checker:
        yield load_safety_checker(settings.safety_checker)
    if settings.nudenet:
        yield load_nudenet()


def _by_vectors(settings: ImageCheckSettings) -> Iterator[ImageCheck]:
    """The checks that work on the vectors of one CLIP."""
    if settings.image_embedder is None:
        return
    embedder = ImageEmbedder(settings.image_embedder)
    if settings.concept_checker:
        yield load_concepts(settings.concept_checker, embedder)
    if settings.references:
        bar, bits = settings.references_bar, settings.references_bits
        yield SimilarityCheck(settings.references, embedder, bar=bar, bits=bits)
