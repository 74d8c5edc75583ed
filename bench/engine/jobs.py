"""The jobs that every arm makes: one image each, drawn from a seed, so that all arms and all rounds get the same.

A burst arrives at once; a trace has Poisson arrivals. Knows no server.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

PROMPTS = (
    "a red circle on a blue background",
    "a yellow star above a green square",
    "a purple heart on a white background",
    "a small orange triangle on a black background",
)
STEPS = (4, 20, 30, 50)
GUIDANCE = (1.0, 3.0, 5.0, 7.5)
SCHEDULERS = ("dpmpp_2m", "euler", "ddim", "unipc")
# How often each step count comes in a trace: few quick ones, few long ones.
TRACE_WEIGHTS = {4: 20, 20: 40, 30: 30, 50: 10}


@dataclass(frozen=True)
class Job:
    """One image. `adapters` maps a LoRA's name to its scale."""

    prompt: str
    seed: int
    steps: int = 25
    guidance: float = 3.0
    scheduler: str = "dpmpp_2m"
    adapters: tuple[tuple[str, float], ...] = ()

    @property
    def settings(self) -> tuple[object, ...]:
        """What must be equal for a pipeline to make two jobs in one call."""
        return (self.steps, self.guidance, self.scheduler, self.adapters)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Job:
        return cls(**{**body, "adapters": tuple((name, scale) for name, scale in body["adapters"])})


def equal_burst(count: int) -> list[Job]:
    """The same settings, another prompt and seed."""
    return [Job(PROMPTS[index % len(PROMPTS)], seed=index) for index in range(count)]


def mixed_burst(count: int, adapter_sets: tuple[tuple[tuple[str, float], ...], ...], *, seed: int) -> list[Job]:
    """Four step counts, guidances, samplers and LoRA sets, each equally often, combined and ordered by chance."""
    generator = random.Random(seed)
    columns = [_dealt(values, count, generator) for values in (STEPS, GUIDANCE, SCHEDULERS, adapter_sets)]
    return [
        Job(PROMPTS[index % len(PROMPTS)], index, steps, guidance, scheduler, adapters)
        for index, (steps, guidance, scheduler, adapters) in enumerate(zip(*columns, strict=True))
    ]


def poisson_trace(
    count: int, adapter_sets: tuple[tuple[tuple[str, float], ...], ...], *, seed: int
) -> list[tuple[float, Job]]:
    """Jobs with arrival times whose mean distance is 1: scale them by the rate that is wanted."""
    generator = random.Random(seed)
    choices = list(product(GUIDANCE, SCHEDULERS, adapter_sets))
    at, trace = 0.0, []
    for index in range(count):
        at += generator.expovariate(1.0)
        steps = generator.choices(tuple(TRACE_WEIGHTS), tuple(TRACE_WEIGHTS.values()))[0]
        guidance, scheduler, adapters = generator.choice(choices)
        trace.append((at, Job(PROMPTS[index % len(PROMPTS)], index, steps, guidance, scheduler, adapters)))
    return trace


def _dealt(values: tuple[Any, ...], count: int, generator: random.Random) -> list[Any]:
    dealt = [values[index % len(values)] for index in range(count)]
    generator.shuffle(dealt)
    return dealt
