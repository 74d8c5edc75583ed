"""The tensors of one sample on its way from noise to latents.

Each sample has a scheduler object of its own, because schedulers keep history (multistep outputs, step index) and can't
be shared. Knows how to offer its rows for a forward and how to take the prediction back; not who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.guidance import guide


@dataclass(eq=False)
class Denoising:
    """One sample between its first and its last model call."""

    latents: torch.Tensor  # (1, channels, height/8, width/8)
    conditioning: Mapping[str, torch.Tensor]  # each (rows, ...); a guided sample's negative row comes first
    rows: int
    scheduler: Any  # a diffusers scheduler, timesteps set
    step_kwargs: Mapping[str, Any]
    guidance_scale: float
    num_inference_steps: int
    calls: int = 0

    @property
    def timestep(self) -> torch.Tensor:
        return self.scheduler.timesteps[self.calls]  # type: ignore[no-any-return]  # (), int64 or float32, on the CPU

    @property
    def done(self) -> bool:
        return self.calls == len(self.scheduler.timesteps)

    @property
    def steps_done(self) -> int:
        """Progress in the caller's steps, also where the scheduler calls the model more often (PNDM: steps + 1)."""
        return self.calls * self.num_inference_steps // len(self.scheduler.timesteps)

    def model_input(self) -> torch.Tensor:
        """This sample's rows of the next forward."""
        scaled = self.scheduler.scale_model_input(self.latents, self.timestep)
        return scaled.expand(self.rows, -1, -1, -1)  # type: ignore[no-any-return]  # (rows, channels, h/8, w/8)

    def advance(self, prediction: torch.Tensor) -> None:
        """Take one scheduler step with the model's prediction for this sample's rows."""
        guided = guide(prediction, self.guidance_scale)
        stepped = self.scheduler.step(guided, self.timestep, self.latents, **self.step_kwargs, return_dict=False)
        self.latents = stepped[0]
        self.calls += 1
