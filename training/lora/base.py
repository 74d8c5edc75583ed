"""The model that a LoRA is trained for: its networks, frozen, and what each makes of pictures and captions.

Stable Diffusion 1.x and 2.x, and SDXL with its two text encoders, told apart by the pipeline's own class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from torch import Tensor

from darkroom.errors import ConfigurationError

UNET = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
TOKENIZERS = ("tokenizer", "tokenizer_2")


@dataclass(frozen=True)
class Words:
    """Captions as the UNet takes them."""

    states: Tensor  # (n, tokens, width)
    pooled: Tensor | None = None  # (n, width), SDXL alone

    def to(self, *args: Any) -> Words:
        return Words(self.states.to(*args), None if self.pooled is None else self.pooled.to(*args))

    def rows(self, index: Tensor) -> Words:
        return Words(self.states[index], None if self.pooled is None else self.pooled[index])


class Base:
    """A loaded pipeline as training sees it."""

    def __init__(self, pipeline: Any, device: torch.device) -> None:
        self.pipeline = pipeline.to(device)
        self.device = device
        self.is_xl = isinstance(pipeline, StableDiffusionXLPipeline)
        self.unet: Any = pipeline.unet
        self.vae: Any = pipeline.vae
        self.text_encoders: Mapping[str, Any] = {
            name: getattr(pipeline, name) for name in TEXT_ENCODERS if getattr(pipeline, name, None) is not None
        }
        self.tokenizers = [getattr(pipeline, name) for name, _ in zip(TOKENIZERS, self.text_encoders, strict=False)]
        self.noise = DDPMScheduler.from_config(pipeline.scheduler.config)
        for network in (self.unet, self.vae, *self.text_encoders.values()):
            network.requires_grad_(requires_grad=False).eval()

    @property
    def size(self) -> int:
        """The side of its pictures, in pixels."""
        factor: int = self.pipeline.vae_scale_factor
        return factor * int(self.unet.config.sample_size)

    @torch.no_grad()
    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures as the VAE's scaled latents, (n, 4, h/8, w/8)."""
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
        posterior = self.vae.encode(pixels.to(self.device).float() / 127.5 - 1).latent_dist
        scaled: Tensor = posterior.mode() * self.vae.config.scaling_factor
        return scaled

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Captions as each tokenizer's token ids, (n, tokenizers, 77); what does not fit is cut off."""
        ids = [
            tokenizer(
                list(captions),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            for tokenizer in self.tokenizers
        ]
        return torch.stack(ids, dim=1)

    def words(self, tokens: Tensor) -> Words:
        """Token ids as text embeddings; gradients flow where a text encoder learns."""
        encoders = list(self.text_encoders.values())
        ids = tokens.to(self.device).unbind(1)
        if not self.is_xl:
            return Words(encoders[0](ids[0]).last_hidden_state)
        outputs = [encoder(each, output_hidden_states=True) for encoder, each in zip(encoders, ids, strict=True)]
        states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return Words(states, outputs[-1].text_embeds)

    def predict(self, noisy: Tensor, timesteps: Tensor, words: Words) -> Tensor:
        """The UNet's prediction, in whatever the model's noise schedule says that it predicts."""
        added: dict[str, Tensor] | None = None
        if words.pooled is not None:
            height, width = (side * self.pipeline.vae_scale_factor for side in noisy.shape[-2:])
            times = torch.tensor([[height, width, 0, 0, height, width]], device=noisy.device).float()
            added = {"text_embeds": words.pooled, "time_ids": times.repeat(len(noisy), 1)}
        predicted: Tensor = self.unet(noisy, timesteps, words.states, added_cond_kwargs=added).sample
        return predicted

    def target(self, latents: Tensor, eps: Tensor, timesteps: Tensor) -> Tensor:
        """What the prediction should have been."""
        wanted: Tensor = eps
        if self.noise.config.prediction_type == "v_prediction":
            wanted = self.noise.get_velocity(latents, eps, timesteps)
        return wanted


def load_base(folder: Path, device: torch.device) -> Base:
    """Load a model folder in diffusers' format, in float32.

    Raises:
        ConfigurationError: when it is no such folder, or of a family that is not trained here.
    """
    if not (folder / "model_index.json").is_file():
        raise ConfigurationError(f"{folder} is no model in diffusers' format: it has no model_index.json")
    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    if not isinstance(pipeline, StableDiffusionPipeline | StableDiffusionXLPipeline):
        raise ConfigurationError(f"{folder} is a {type(pipeline).__name__}; LoRAs are trained for SD and SDXL")
    pipeline.set_progress_bar_config(disable=True)
    return Base(pipeline, device)
