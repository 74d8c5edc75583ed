"""The tensors of one sample on its way from noise to latents.

Each sample has a scheduler object of its own, because schedulers keep history (multistep outputs, step index) and can't
be shared. Knows how to offer its rows for a forward and how to take the prediction back; not who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from engine.guidance import POSITIVE_ROW, UNGUIDED_ROWS, Guidance, GuidanceTerm, guide

RowAdapters = tuple[tuple[int, float], ...]  # (slot, scale) of each LoRA that bears on a row; () for none


class ImageConditioning(Protocol):
    """What an image given by the caller adds to a sample's model calls."""

    def extend(self, model_input: torch.Tensor) -> torch.Tensor:
        """The rows (rows, c, h/8, w/8) with the channels that the UNet takes besides the latents."""

    def after_step(self, latents: torch.Tensor, next_timestep: torch.Tensor | None) -> torch.Tensor:
        """The latents with what is to be kept of the image put back; `next_timestep` is None after the last call."""

    def finish(self, pixels: np.ndarray) -> np.ndarray:
        """The decoded image (h, w, 3) uint8, put back where it was cut from."""


@dataclass(frozen=True)
class Unfinished:
    """What a base model leaves for its refiner."""

    latents: torch.Tensor  # (1, channels, height/8, width/8)
    generator: torch.Generator
    steps_done: int
    term: GuidanceTerm | None = None  # with what it remembers


@dataclass(eq=False)
class Denoising:
    """One sample between its first and its last model call."""

    latents: torch.Tensor  # (1, channels, height/8, width/8)
    conditioning: Mapping[str, torch.Tensor]  # each (rows, ...); a guided sample's negative row comes first
    rows: int  # of its next forward; it falls where guidance stops early
    scheduler: Any  # a diffusers scheduler, timesteps set
    timesteps: torch.Tensor  # one per model call: the scheduler's, or those from where an image input joins in
    step_kwargs: Mapping[str, Any]
    guidance: Guidance
    num_inference_steps: int  # that these model calls make up
    generator: torch.Generator
    steps_before: int = 0  # of another model
    steps_after: int = 0
    adapters: RowAdapters = ()
    image: ImageConditioning | None = None
    term: GuidanceTerm | None = None  # its row comes last
    calls: int = 0
    _scaled: torch.Tensor | None = None  # the latents as the last model call saw them
    _seen: tuple[torch.Tensor, torch.Tensor] | None = None  # its timestep and what it predicted

    @property
    def timestep(self) -> torch.Tensor:
        return self.timesteps[self.calls]  # (), int64 or float32, on the CPU

    @property
    def done(self) -> bool:
        return self.calls == len(self.timesteps)

    @property
    def steps_done(self) -> int:
        """Progress in the caller's steps, also where the scheduler calls the model more often (PNDM: steps + 1)."""
        return self.steps_before + self.calls * self.num_inference_steps // len(self.timesteps)

    @property
    def steps_in_all(self) -> int:
        return self.steps_before + self.num_inference_steps + self.steps_after

    def model_input(self) -> torch.Tensor:
        """This sample's rows of the next forward."""
        self._scaled = self.scheduler.scale_model_input(self.latents, self.timestep)
        rows: torch.Tensor = self._scaled.expand(self.rows, -1, -1, -1)  # (rows, channels, h/8, w/8)
        return rows if self.image is None else self.image.extend(rows)

    def advance(self, prediction: torch.Tensor) -> None:
        """Take one scheduler step with the model's prediction for this sample's rows."""
        guided = guide(prediction, self.guidance, term=self.term)
        self._seen = (self.timestep, guided)
        stepped = self.scheduler.step(guided, self.timestep, self.latents, **self.step_kwargs, return_dict=False)
        self.latents = stepped[0]
        self.calls += 1
        if self.image is not None:
            self.latents = self.image.after_step(self.latents, None if self.done else self.timestep)
        if self.rows > UNGUIDED_ROWS and self.steps_done >= self.guidance.guided_steps(self.steps_in_all):
            self._stop_guidance()

    def foreseen(self) -> torch.Tensor:
        """The latents without noise that the last prediction points at: what the image is about to become."""
        assert self._seen is not None, "nothing was predicted yet"
        assert self._scaled is not None, "nothing was predicted yet"
        timestep, prediction = self._seen
        # Whatever the sampler's own scale, the model sees noise and image mixed as in training.
        kept = self.scheduler.alphas_cumprod[int(timestep.round())]
        image_share, noise_share = float(kept.sqrt()), float((1 - kept).sqrt())
        if self.scheduler.config.prediction_type == "v_prediction":
            return image_share * self._scaled - noise_share * prediction
        return (self._scaled - noise_share * prediction) / image_share

    def unfinished(self) -> Unfinished:
        return Unfinished(self.latents, self.generator, self.steps_done, self.term)

    def _stop_guidance(self) -> None:
        """Go on as the prompt alone says; a term keeps its say, and the rows that it needs."""
        if self.term is not None:
            self.guidance = Guidance()
            return
        self.rows = UNGUIDED_ROWS
        positive = slice(POSITIVE_ROW, POSITIVE_ROW + 1)
        self.conditioning = {name: tensor[positive] for name, tensor in self.conditioning.items()}
