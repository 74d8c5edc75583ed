"""Public scheduler names and the diffusers classes behind them."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from darkroom.errors import InvalidParams
from darkroom.schedulers import SCHEDULERS, SPACINGS
from engine.schedulers import SCHEDULER_CLASSES, check_steps, make_scheduler, step_kwargs

CONFIG = diffusers.DPMSolverMultistepScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction"
).config


def test_both_tables_hold_the_same_names() -> None:
    assert set(SCHEDULER_CLASSES) == {info.base for info in SCHEDULERS.values()}


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_number_of_steps_within_the_limits_runs_to_finite_latents(name: str, spacing: str) -> None:
    info = SCHEDULERS[name]
    for steps in (info.min_steps, info.min_steps + 1, 3):
        scheduler = make_scheduler(name, {**CONFIG, "timestep_spacing": spacing}, num_inference_steps=steps)
        latents = run(name, scheduler)
        assert torch.isfinite(latents).all()
    most = make_scheduler(name, {**CONFIG, "timestep_spacing": spacing}, num_inference_steps=info.max_steps)
    assert len(most.timesteps) == calls(name, info.max_steps)
    assert most.timesteps[0] != most.timesteps[-1]


def calls(name: str, steps: int) -> int:
    """How often a scheduler calls the model in so many steps."""
    return {"heun": 2 * steps - 1, "pndm": steps + 1}.get(SCHEDULERS[name].base, steps)


def run(name: str, scheduler: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        model_input = scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(
            model_input / 2, timestep, latents, **step_kwargs(name, scheduler, generator), return_dict=False
        )[0]
    return latents


@pytest.mark.parametrize("steps", [61, 103, 122])
@pytest.mark.parametrize("name", [name for name, info in SCHEDULERS.items() if info.max_steps > 122])
def test_trailing_timesteps_never_go_below_zero(name: str, steps: int) -> None:
    scheduler = make_scheduler(name, {**CONFIG, "timestep_spacing": "trailing"}, num_inference_steps=steps)
    neighbour = make_scheduler(name, {**CONFIG, "timestep_spacing": "trailing"}, num_inference_steps=steps - 1)

    assert scheduler.timesteps.min() >= 0
    assert len(scheduler.timesteps) == calls(name, steps)
    assert float(run(name, scheduler).norm()) == pytest.approx(float(run(name, neighbour).norm()), rel=0.2)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_prediction_type_and_betas_follow_the_model(name: str) -> None:
    scheduler = make_scheduler(name, CONFIG, num_inference_steps=5)

    assert scheduler.config.prediction_type == "v_prediction"
    assert torch.equal(scheduler.betas, diffusers.DDPMScheduler.from_config(CONFIG).betas)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_no_scheduler_clips_latents_to_the_range_of_pixels(name: str) -> None:
    scheduler = make_scheduler(name, CONFIG, num_inference_steps=5)

    assert not scheduler.config.get("clip_sample", False)


@pytest.mark.parametrize("saved", [*SPACINGS, None])
@pytest.mark.parametrize("name", [name for name, info in SCHEDULERS.items() if info.spaced])
def test_sigmas_are_spaced_as_the_name_says_whatever_the_model_was_saved_with(name: str, saved: str | None) -> None:
    config = {**CONFIG, **({f"use_{saved}_sigmas": True} if saved else {})}

    scheduler = make_scheduler(name, config, num_inference_steps=5)

    chosen = [spacing for spacing in SPACINGS if scheduler.config[f"use_{spacing}_sigmas"]]
    assert chosen == [SCHEDULERS[name].spacing] * (SCHEDULERS[name].spacing is not None)


def test_samples_never_share_a_scheduler() -> None:
    first, second = (make_scheduler("unipc", CONFIG, num_inference_steps=5) for _ in range(2))

    assert first is not second
    assert first.model_outputs is not second.model_outputs


@pytest.mark.parametrize("name", SCHEDULERS)
def test_numbers_of_each_step_stay_on_the_cpu(name: str) -> None:
    scheduler = make_scheduler(name, CONFIG, num_inference_steps=5)

    assert scheduler.timesteps.device.type == "cpu"
    assert getattr(scheduler, "begin_index", 0) == 0


def test_only_schedulers_that_draw_noise_get_the_generator() -> None:
    generator = torch.Generator()
    given = {
        name: set(step_kwargs(name, make_scheduler(name, CONFIG, num_inference_steps=5), generator))
        for name in SCHEDULERS
    }

    assert given["ddim"] == {"eta", "generator"}
    assert given["pndm"] == set()
    assert all("generator" in given[name] for name, info in SCHEDULERS.items() if info.stochastic)


def test_a_step_count_out_of_range_names_the_nearest_valid_one() -> None:
    with pytest.raises(InvalidParams) as caught:
        check_steps("lcm", 80)

    assert caught.value.problems[0].field == "num_inference_steps"
    assert caught.value.problems[0].nearest == 50
    check_steps("lcm", 50)
    check_steps("euler", 80)
