"""Stable Diffusion 1.x and 2.x, epsilon and v-prediction.

Does what diffusers' StableDiffusionPipeline does, in the same order and with the same random numbers, cut into pieces
that a batch of strangers can share. The parity tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Self

import diffusers
import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from darkroom.errors import FieldProblem, InvalidParams
from engine.batch import Rows
from engine.decode import Decoding, decode
from engine.denoising import Denoising
from engine.guidance import GUIDED_ROWS, UNGUIDED_ROWS
from engine.image_inputs import Beginning, ImageInputs
from engine.pipelines import PipelineSpec, read_pipeline
from engine.previews import LatentPreview
from engine.samples import ImageRequest
from engine.schedulers import make_scheduler, step_kwargs
from engine.text import Embedding, stack


class StableDiffusion:
    """One loaded Stable Diffusion pipeline, seen through the `Family` seam."""

    def __init__(self, pipeline: Any, device: torch.device) -> None:
        self.pipeline = pipeline
        self.device = device
        self._images = ImageInputs(
            encode=lambda pixels: pipeline.vae.encode(pixels).latent_dist,
            scale=pipeline.vae.config.scaling_factor,
            factor=pipeline.vae_scale_factor,
            channels=pipeline.vae.config.latent_channels,
            in_channels=pipeline.unet.config.in_channels,
        )
        self._preview = LatentPreview.fit(pipeline.vae, scale=pipeline.vae_scale_factor)

    @classmethod
    def load(cls, spec: PipelineSpec, device: torch.device, dtype: torch.dtype) -> Self:
        return cls(read_pipeline(diffusers.StableDiffusionPipeline, spec, dtype=dtype).to(device), device)

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        return {"unet": self.pipeline.unet, "text_encoder": self.pipeline.text_encoder}

    def key(self, request: ImageRequest) -> Hashable:
        return (request.height, request.width)

    def rows(self, request: ImageRequest) -> int:
        return GUIDED_ROWS if self._guided(request) else UNGUIDED_ROWS

    def encode(self, prompt: str) -> Embedding:
        """As the pipeline's encode_prompt, which can't be called: it logs the words that it cuts off."""
        tokenizer, text_encoder = self.pipeline.tokenizer, self.pipeline.text_encoder
        tokens = tokenizer(
            prompt,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        mask = tokens.attention_mask if getattr(text_encoder.config, "use_attention_mask", False) else None
        return {"encoder_hidden_states": text_encoder(tokens.input_ids, attention_mask=mask)[0]}  # (1, 77, width)

    def prepare(self, request: ImageRequest, encode: Callable[[str], Embedding]) -> Denoising:
        self._check_size(request)
        self._images.check(request)
        prompts = [request.negative_prompt, request.prompt] if self._guided(request) else [request.prompt]
        conditioning = stack([encode(prompt) for prompt in prompts])
        generator = torch.Generator("cpu").manual_seed(request.seed)  # the CPU's numbers are the same everywhere
        scheduler = make_scheduler(
            request.scheduler, self.pipeline.scheduler.config, num_inference_steps=request.num_inference_steps
        )
        words = conditioning["encoder_hidden_states"]
        beginning = self._begin(request, scheduler, generator, like=words)
        return Denoising(
            latents=beginning.latents,
            conditioning={**conditioning, **self._guidance_embedding(request, words.dtype)},
            rows=len(prompts),
            scheduler=scheduler,
            timesteps=beginning.timesteps,
            step_kwargs=step_kwargs(request.scheduler, scheduler, generator),
            guidance=request.guidance,
            num_inference_steps=beginning.num_inference_steps,
            image=beginning.image,
        )

    def denoise(self, rows: Rows) -> torch.Tensor:
        prediction: torch.Tensor = self.pipeline.unet(
            rows.latents, rows.timesteps, **rows.conditioning, return_dict=False
        )[0]
        return prediction

    def preview(self, latents: torch.Tensor) -> np.ndarray:
        return self._preview(latents)

    def decode(self, latents: torch.Tensor) -> Decoding:
        return decode(latents, vae=self.pipeline.vae, image_processor=self.pipeline.image_processor)

    def _guided(self, request: ImageRequest) -> bool:
        # A distilled UNet takes the guidance scale as an input, and needs no second row.
        return request.guidance.on and self.pipeline.unet.config.time_cond_proj_dim is None

    def _check_size(self, request: ImageRequest) -> None:
        factor = self.pipeline.vae_scale_factor
        for name, value in (("width", request.width), ("height", request.height)):
            if value <= 0 or value % factor:
                nearest = max(round(value / factor), 1) * factor
                raise InvalidParams([FieldProblem(name, f"must be a multiple of {factor}", str(factor), nearest)])

    def _begin(
        self, request: ImageRequest, scheduler: Any, generator: torch.Generator, *, like: torch.Tensor
    ) -> Beginning:
        if request.init_image is not None:
            return self._images.begin(request, scheduler, generator, like=like)
        factor = self.pipeline.vae_scale_factor
        shape = (1, self.pipeline.unet.config.in_channels, request.height // factor, request.width // factor)
        noise = randn_tensor(shape, generator=generator, device=like.device, dtype=like.dtype)
        return Beginning(noise * scheduler.init_noise_sigma, scheduler.timesteps, request.num_inference_steps)

    def _guidance_embedding(self, request: ImageRequest, dtype: torch.dtype) -> Embedding:
        width = self.pipeline.unet.config.time_cond_proj_dim
        if width is None:
            return {}
        scale = torch.tensor([request.guidance_scale - 1])
        embedding = self.pipeline.get_guidance_scale_embedding(scale, embedding_dim=width)
        return {"timestep_cond": embedding.to(device=self.device, dtype=dtype)}  # (1, width)
