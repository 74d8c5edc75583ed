"""Public scheduler names -> diffusers' classes.

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
from darkroom.schedulers import SCHEDULERS


@dataclass(frozen=True)
class SchedulerClass:
    """A diffusers class and the settings that the public name stands for."""

    name: str  # of the class in diffusers
    overrides: Mapping[str, Any] = field(default_factory=dict)


# DDIM and DDPM clip the predicted image to [-1, 1] unless the config says otherwise. That suits pixels; latents are
# wider, and StableDiffusionPipeline switches it off for its own scheduler in the same way.
_LATENT = MappingProxyType({"clip_sample": False})
_DPMPP_2M = MappingProxyType({"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": False})

SCHEDULER_CLASSES: Mapping[str, SchedulerClass] = MappingProxyType(
    {
        "ddim": SchedulerClass("DDIMScheduler", _LATENT),
        "ddpm": SchedulerClass("DDPMScheduler", _LATENT),
        "euler": SchedulerClass("EulerDiscreteScheduler", {"use_karras_sigmas": False}),
        "euler_a": SchedulerClass("EulerAncestralDiscreteScheduler"),
        # Runge-Kutta warm-up needs 9 more model calls and is off in every Stable Diffusion release.
        "pndm": SchedulerClass("PNDMScheduler", {"skip_prk_steps": True}),
        "dpmpp_2m": SchedulerClass("DPMSolverMultistepScheduler", _DPMPP_2M),
        "dpmpp_2m_karras": SchedulerClass("DPMSolverMultistepScheduler", {**_DPMPP_2M, "use_karras_sigmas": True}),
        "unipc": SchedulerClass("UniPCMultistepScheduler", {"use_karras_sigmas": False}),
        "lcm": SchedulerClass("LCMScheduler", {**_LATENT, "original_inference_steps": SCHEDULERS["lcm"].max_steps}),
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
    entry = SCHEDULER_CLASSES[name]
    scheduler_class = getattr(diffusers, entry.name)
    known = inspect.signature(scheduler_class).parameters
    # The config is another class's; keys that this one has no use for would be warned of, sample by sample. Keys with
    # an underscore are diffusers' own notes, such as which values were nobody's choice.
    shared = {key: value for key, value in config.items() if key in known or key.startswith("_")}
    scheduler = scheduler_class.from_config(shared, **entry.overrides)
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
    if scheduler.timesteps[-1] >= 0:
        return
    scheduler.timesteps = scheduler.timesteps[:-1]
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat([scheduler.sigmas[:-2], scheduler.sigmas[-1:]])  # the last one is the end, zero


def step_kwargs(scheduler: Any, generator: torch.Generator) -> dict[str, Any]:
    """What the reference pipeline hands to this scheduler's `step` besides tensors: its generator, and eta 0."""
    accepted = inspect.signature(scheduler.step).parameters
    offered = {"eta": 0.0, "generator": generator}
    return {name: value for name, value in offered.items() if name in accepted}
