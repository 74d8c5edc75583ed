"""Guidance of one sample's rows: its formula, its refinements, and when it stops."""

from __future__ import annotations

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from darkroom.errors import InvalidParams
from engine.guidance import Guidance, guide
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request


@pytest.mark.parametrize(("scale", "guided"), [(0.0, False), (1.0, False), (1.01, True), (7.5, True)])
def test_a_sample_is_guided_above_scale_one(scale: float, guided: bool) -> None:
    assert Guidance(scale).on is guided


def test_guidance_goes_from_the_negative_row_past_the_positive_one() -> None:
    negative, positive = torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 3.0)

    assert guide(torch.cat([negative, positive]), Guidance(5.0)).unique().tolist() == [11.0]


def test_a_single_row_is_its_own_prediction() -> None:
    prediction = torch.ones(1, 4, 2, 2)

    assert guide(prediction, Guidance(0.5)) is prediction


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescale_is_diffusers_own(rescale: float) -> None:
    rows = torch.randn(2, 4, 8, 8)
    plain = guide(rows, Guidance(7.5))

    rescaled = guide(rows, Guidance(7.5, rescale=rescale))

    assert torch.equal(rescaled, rescale_noise_cfg(plain, rows[1:], guidance_rescale=rescale))
    assert not torch.equal(rescaled, plain)


class Brake:
    """Turns the direction away from its own row."""

    def adjust(
        self, direction: torch.Tensor, *, negative: torch.Tensor, positive: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        assert torch.equal(direction, positive - negative)
        return direction - (own - negative)


def test_a_third_row_may_change_the_direction() -> None:
    rows = torch.tensor([1.0, 3.0, 2.0]).view(3, 1, 1, 1).expand(-1, 4, 2, 2)

    assert guide(rows, Guidance(5.0), term=Brake()).unique().tolist() == [1.0 + 5.0 * (2.0 - 1.0)]


@pytest.mark.parametrize(
    ("stop", "steps", "guided"), [(1.0, 20, 20), (0.5, 20, 10), (0.5, 5, 3), (0.01, 10, 1), (0.07, 100, 7)]
)
def test_guidance_stops_after_its_share_of_the_steps(stop: float, steps: int, guided: int) -> None:
    assert Guidance(5.0, stop=stop).guided_steps(steps) == guided


@pytest.mark.parametrize(
    ("guidance", "field"),
    [
        (Guidance(5.0, rescale=1.5), "guidance_rescale"),
        (Guidance(5.0, rescale=float("nan")), "guidance_rescale"),
        (Guidance(5.0, stop=0.0), "guidance_stop"),
        (Guidance(5.0, stop=1.1), "guidance_stop"),
    ],
)
def test_numbers_without_a_meaning_are_refused(guidance: Guidance, field: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        guidance.check()

    assert [problem.field for problem in caught.value.problems] == [field]


@pytest.mark.parametrize(("scheduler", "guided"), [("euler", 3), ("heun", 6), ("pndm", 4)])
def test_a_sample_whose_guidance_stops_goes_on_with_one_row(
    scheduler: str, guided: int, make_engine: MakeEngine
) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    handle = engine.submit("tiny", make_request(scheduler=scheduler, num_inference_steps=6, guidance_stop=0.5))

    engine.start()
    handle.future.result(timeout=60)

    assert notes.steps == [(2, 1)] * guided + [(1, 1)] * (len(notes.steps) - guided)
    assert notes.steps[-1] == (1, 1)


def test_rows_that_guidance_gives_back_are_given_to_who_waits(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes, max_rows=3)
    handles = [engine.submit("tiny", make_request(num_inference_steps=6, guidance_stop=0.5, seed=1))]
    handles.append(engine.submit("tiny", make_request(num_inference_steps=6)))

    engine.start()
    for handle in handles:
        handle.future.result(timeout=60)

    assert notes.steps == [(2, 1)] * 3 + [(3, 2)] * 3 + [(2, 1)] * 3
