"""Classifier-free guidance of one sample's rows."""

from __future__ import annotations

import pytest
import torch

from engine.guidance import Guidance, guide


@pytest.mark.parametrize(("scale", "guided"), [(0.0, False), (1.0, False), (1.01, True), (7.5, True)])
def test_a_sample_is_guided_above_scale_one(scale: float, guided: bool) -> None:
    assert Guidance(scale).on is guided


def test_guidance_goes_from_the_negative_row_past_the_positive_one() -> None:
    negative, positive = torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 3.0)

    assert guide(torch.cat([negative, positive]), Guidance(5.0)).unique().tolist() == [11.0]


def test_a_single_row_is_its_own_prediction() -> None:
    prediction = torch.ones(1, 4, 2, 2)

    assert guide(prediction, Guidance(0.5)) is prediction
