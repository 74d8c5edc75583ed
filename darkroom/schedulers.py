"""The noise schedulers that a request may name, with their limits.

Both sides need the list and only one has torch, so this half is plain data: the API serves and checks it, and
`engine/schedulers.py` maps the same names to diffusers' classes (a test holds the two equal).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# One fewer than the 1,000 steps the models are trained on: multistep schedulers place one more point than steps.
TRAINING_LIMIT = 999
# A consistency model is distilled along 50 points and can't stop at more of them.
LCM_LIMIT = 50


@dataclass(frozen=True)
class SchedulerInfo:
    """One noise scheduler as callers see it."""

    name: str
    title: str
    description: str
    min_steps: int = 1
    max_steps: int = TRAINING_LIMIT
    few_step: bool = False  # made for distilled models that need 1-8 steps
    stochastic: bool = False  # draws fresh noise at each step; the seed still fixes the image


_INFOS = (
    SchedulerInfo("dpmpp_2m", "DPM++ 2M", "Second-order multistep; a good picture in 20 to 30 steps."),
    SchedulerInfo("dpmpp_2m_karras", "DPM++ 2M Karras", "DPM++ 2M with more of its steps at low noise."),
    SchedulerInfo("unipc", "UniPC", "Predictor-corrector; holds up well at 10 to 20 steps."),
    SchedulerInfo("euler", "Euler", "First order; plain and steady."),
    SchedulerInfo("euler_a", "Euler ancestral", "Euler with fresh noise at each step.", stochastic=True),
    SchedulerInfo("ddim", "DDIM", "The deterministic sampler that Stable Diffusion was published with."),
    SchedulerInfo("ddpm", "DDPM", "The sampler that models are trained for; wants many steps.", stochastic=True),
    SchedulerInfo("pndm", "PNDM", "Linear multistep; calls the model once more than it has steps."),
    SchedulerInfo(
        "lcm",
        "LCM",
        "For latent consistency models, in 1 to 8 steps.",
        max_steps=LCM_LIMIT,
        few_step=True,
        stochastic=True,
    ),
)

#: Public name -> scheduler, in the order a person should read them.
SCHEDULERS: Mapping[str, SchedulerInfo] = MappingProxyType({info.name: info for info in _INFOS})
