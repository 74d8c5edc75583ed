"""The noise schedulers that a request may name, with their limits.

Both sides need the list and only one has torch, so this half is plain data: the API serves and checks it, and
`engine/schedulers.py` maps its samplers to diffusers' classes (a test holds the two equal).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

# One fewer than the 1,000 steps the models are trained on: multistep schedulers place one more point than steps.
TRAINING_LIMIT = 999
# A consistency model is distilled along 50 points and can't stop at more of them.
DISTILLATION_LIMIT = 50


# Samplers that work on a free list of noise levels (sigmas) can take them spaced in these ways.
SPACINGS: Mapping[str, str] = MappingProxyType(
    {
        "karras": "with more of its steps at low noise",
        "exponential": "with the noise falling by the same factor at each step",
        "beta": "with more of its steps at both ends",
    }
)


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
    spaced: bool = False  # comes with each spacing of SPACINGS too
    base: str = ""  # the sampler; two names that differ in spacing share it
    spacing: str | None = None  # of its sigmas; None is the model's own


_SAMPLERS = (
    SchedulerInfo("dpmpp_2m", "DPM++ 2M", "Second-order multistep; a good picture in 20 to 30 steps.", spaced=True),
    SchedulerInfo(
        "dpmpp_2m_sde",
        "DPM++ 2M SDE",
        "DPM++ 2M with fresh noise at each step; more detail from more steps.",
        stochastic=True,
        spaced=True,
    ),
    SchedulerInfo(
        "dpmpp_sde",
        "DPM++ SDE",
        "Second-order singlestep with fresh noise at each step.",
        stochastic=True,
        spaced=True,
    ),
    SchedulerInfo("unipc", "UniPC", "Predictor-corrector; holds up well at 10 to 20 steps.", spaced=True),
    SchedulerInfo("deis", "DEIS", "Exponential-integrator multistep; made for few steps.", spaced=True),
    SchedulerInfo("euler", "Euler", "First order; plain and steady.", spaced=True),
    SchedulerInfo("euler_a", "Euler ancestral", "Euler with fresh noise at each step.", stochastic=True),
    SchedulerInfo(
        "heun", "Heun", "Second order; calls the model twice a step, so it takes twice as long.", spaced=True
    ),
    SchedulerInfo("lms", "LMS", "Linear multistep of fourth order.", spaced=True),
    SchedulerInfo("ddim", "DDIM", "The deterministic sampler that Stable Diffusion was published with."),
    SchedulerInfo("ddpm", "DDPM", "The sampler that models are trained for; wants many steps.", stochastic=True),
    SchedulerInfo("pndm", "PNDM", "Linear multistep; calls the model once more than it has steps."),
    SchedulerInfo(
        "lcm",
        "LCM",
        "For latent consistency models, in 1 to 8 steps.",
        max_steps=DISTILLATION_LIMIT,
        few_step=True,
        stochastic=True,
    ),
    SchedulerInfo(
        "tcd",
        "TCD",
        "For trajectory consistency models, in 1 to 8 steps.",
        max_steps=DISTILLATION_LIMIT,
        few_step=True,
        stochastic=True,
    ),
)


def _names(sampler: SchedulerInfo) -> Iterator[SchedulerInfo]:
    """A sampler as it is, then with each spacing that it takes."""
    yield replace(sampler, base=sampler.name)
    for spacing, effect in SPACINGS.items() if sampler.spaced else ():
        yield replace(
            sampler,
            name=f"{sampler.name}_{spacing}",
            title=f"{sampler.title} {spacing.capitalize()}",
            description=f"{sampler.title} {effect}.",
            base=sampler.name,
            spacing=spacing,
        )


#: Public name -> scheduler, in the order a person should read them.
SCHEDULERS: Mapping[str, SchedulerInfo] = MappingProxyType(
    {info.name: info for sampler in _SAMPLERS for info in _names(sampler)}
)
