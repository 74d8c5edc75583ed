"""Samplers -> diffusers' classes, and a fresh scheduler for each sample.

A scheduler is built from the model's own scheduler config, so that betas, prediction type and timestep spacing follow
the model; the table only fixes what the name promises. The torch-free half (titles, limits) is darkroom/schedulers.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import diffusers
import torch

from darkroom.errors import FieldProblem, InvalidParams
from darkroom.schedulers import DISTILLATION_LIMIT, SCHEDULERS, SPACINGS


@dataclass(frozen=True)
class SchedulerClass:
    """A diffusers class and the settings that a sampler's name stands for."""

    name: str  # of the class in diffusers
    overrides: Mapping[str, Any] = field(default_factory=dict)
    eta: float = 0.0  # share of fresh noise, where `step` takes it


# DDIM and DDPM clip the predicted image to [-1, 1] unless the config says otherwise. That suits pixels; latents are
# wider, and StableDiffusionPipeline switches it off for its own scheduler in the same way.
_LATENT = MappingProxyType({"clip_sample": False})
_DISTILLED = MappingProxyType({**_LATENT, "original_inference_steps": DISTILLATION_LIMIT})
_SDE = MappingProxyType({"algorithm_type": "sde-dpmsolver++", "solver_order": 2})

_SPACING_FLAGS = MappingProxyType({spacing: f"use_{spacing}_sigmas" for spacing in SPACINGS})

SCHEDULER_CLASSES: Mapping[str, SchedulerClass] = MappingProxyType(
    {
        "ddim": SchedulerClass("DDIMScheduler", _LATENT),
        "ddpm": SchedulerClass("DDPMScheduler", _LATENT),
        "euler": SchedulerClass("EulerDiscreteScheduler"),
        "euler_a": SchedulerClass("EulerAncestralDiscreteScheduler"),
        "heun": SchedulerClass("HeunDiscreteScheduler", _LATENT),
        "lms": SchedulerClass("LMSDiscreteScheduler"),
        # Runge-Kutta warm-up needs 9 more model calls and is off in every Stable Diffusion release.
        "pndm": SchedulerClass("PNDMScheduler", {"skip_prk_steps": True}),
        "dpmpp_2m": SchedulerClass("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
        "dpmpp_2m_sde": SchedulerClass("DPMSolverMultistepScheduler", _SDE),
        # Not DPMSolverSDEScheduler: its noise comes from a tree of its own that no generator can be handed to.
        "dpmpp_sde": SchedulerClass("DPMSolverSinglestepScheduler", _SDE),
        "deis": SchedulerClass(
            "DEISMultistepScheduler", {"algorithm_type": "deis", "solver_type": "logrho", "solver_order": 2}
        ),
        "unipc": SchedulerClass("UniPCMultistepScheduler", {"solver_type": "bh2"}),
        "lcm": SchedulerClass("LCMScheduler", _DISTILLED),
        "tcd": SchedulerClass("TCDScheduler", _DISTILLED, eta=0.3),  # as its paper advises
    }
)


def check_steps(scheduler: str, num_inference_steps: int) -> None:
    """Refuse an unknown scheduler, or a step count that it can't take.

    Raises:
        InvalidParams: naming the field and the nearest valid value.
    """
    info = SCHEDULERS.get(scheduler)
    if info is None:
        raise InvalidParams([FieldProblem("scheduler", "there is no such scheduler", ", ".join(SCHEDULERS))])
    nearest = min(max(num_inference_steps, info.min_steps), info.max_steps)
    if nearest != num_inference_steps:
        limit = f"{info.min_steps} to {info.max_steps} steps"
        raise InvalidParams([FieldProblem("num_inference_steps", f"{scheduler} takes {limit}", limit, nearest)])


def make_scheduler(name: str, config: Mapping[str, Any], *, num_inference_steps: int) -> Any:
    """A fresh scheduler for one sample, its timesteps set.

    Args:
        config: the scheduler config of the model's pipeline.
    """
    info = SCHEDULERS[name]
    entry = SCHEDULER_CLASSES[info.base]
    scheduler_class = getattr(diffusers, entry.name)
    known = inspect.signature(scheduler_class).parameters
    # The config is another class's; keys that this one has no use for would be warned of, sample by sample. Keys with
    # an underscore are diffusers' own notes, such as which values were nobody's choice.
    shared = {key: value for key, value in config.items() if key in known or key.startswith("_")}
    plain = {flag: False for flag in _SPACING_FLAGS.values() if flag in known}
    scheduler = scheduler_class.from_config(shared, **{**plain, **entry.overrides})
    if info.spacing is not None:
        # After it was made: making one with all 1,000 training steps spaced takes up to 50 ms, and is thrown away.
        scheduler.register_to_config(**{_SPACING_FLAGS[info.spacing]: True})
    # On the CPU: the per-step arithmetic is on single numbers, and reading them from a GPU would stall it each step.
    scheduler.set_timesteps(num_inference_steps, device="cpu")
    _drop_step_below_zero(scheduler)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # else the first step looks its index up by value
    return scheduler


def _drop_step_below_zero(scheduler: Any) -> None:
    """Take back the step at timestep -1 that diffusers' "trailing" spacing adds at 61, 103, 121, 122, ... steps.

    It counts down from 1000 in floats and at times ends a hair above zero. Indexed with -1, the noise schedule then
    gives its noisiest entry for the last step, which ruins the image. This is the one departure from the reference.
    """
    calls = int((scheduler.timesteps < 0).sum())  # two where the model is called twice a step
    if calls == 0:
        return
    scheduler.timesteps = scheduler.timesteps[:-calls]
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat(
            [scheduler.sigmas[: -1 - calls], scheduler.sigmas[-1:]]
        )  # the last is the end, zero


def step_kwargs(name: str, scheduler: Any, generator: torch.Generator) -> dict[str, Any]:
    """What the reference pipeline hands to this scheduler's `step` besides tensors."""
    accepted = inspect.signature(scheduler.step).parameters
    offered = {"eta": SCHEDULER_CLASSES[SCHEDULERS[name].base].eta, "generator": generator}
    return {name: value for name, value in offered.items() if name in accepted}
