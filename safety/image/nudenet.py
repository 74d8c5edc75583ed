"""Scores images with NudeNet's detector, where the operator has installed it: its code and weights are under the AGPL.

It names boxes with a label and a confidence; those labels that stand for nudity count, each by a weight. Not installed
with Darkroom and imported only when it is asked for. The calibration is the operator's: none was measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import ConfigurationError
from safety.calibration import IDENTITY, Calibration
from safety.subjects import ImageSubject
from safety.verdict import Category, Finding, Stage

# What the detector can name, and how much of its confidence counts.
LABELS: Mapping[str, float] = MappingProxyType(
    {
        "ANUS_EXPOSED": 1.0,
        "FEMALE_BREAST_EXPOSED": 1.0,
        "FEMALE_GENITALIA_EXPOSED": 1.0,
        "MALE_GENITALIA_EXPOSED": 1.0,
        "BUTTOCKS_EXPOSED": 0.8,
        "ANUS_COVERED": 0.0,
        "ARMPITS_COVERED": 0.0,
        "ARMPITS_EXPOSED": 0.0,
        "BELLY_COVERED": 0.0,
        "BELLY_EXPOSED": 0.0,
        "BUTTOCKS_COVERED": 0.0,
        "FACE_FEMALE": 0.0,
        "FACE_MALE": 0.0,
        "FEET_COVERED": 0.0,
        "FEET_EXPOSED": 0.0,
        "FEMALE_BREAST_COVERED": 0.0,
        "FEMALE_GENITALIA_COVERED": 0.0,
        "MALE_BREAST_EXPOSED": 0.0,
    }
)
#: Pixels with channels in the order blue, green, red, to boxes: {"class": label, "score": confidence, "box": ...}.
Detect = Callable[[NDArray[np.uint8]], Sequence[Mapping[str, Any]]]


class NudeNetCheck:
    """One detector."""

    name = "image_nudenet"
    stage = Stage.IMAGE

    def __init__(self, detect: Detect, *, calibration: Calibration = IDENTITY) -> None:
        self._detect = detect
        self._calibration = calibration

    def run(self, subject: ImageSubject) -> list[Finding]:
        """The surest box decides. A label that isn't known here is a fault: a misread label is a hole."""
        boxes = self._detect(np.ascontiguousarray(subject.pixels[:, :, ::-1]))
        raws = np.array([LABELS[str(box["class"])] * float(box["score"]) for box in boxes])
        raw = float(raws.max(initial=0.0))  # NaN stays NaN, for the runner to refuse
        return [Finding(Category.sexual, self._calibration(raw), self.name)]


def load_nudenet() -> NudeNetCheck:
    """The detector of the package `nudenet`, with the weights that lie inside it.

    Raises:
        ConfigurationError: the package isn't installed.
    """
    try:
        package = import_module("nudenet")
    except ImportError as error:
        raise ConfigurationError("NudeNet is asked for, but the package nudenet is not installed") from error
    return NudeNetCheck(package.NudeDetector().detect)
