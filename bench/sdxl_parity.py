"""How far Stable Diffusion XL's images are from diffusers' own pipelines: the base alone, and with a refiner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch

from bench.parity import REFERENCE
from engine import ImageRequest


class SdxlReference:
    """StableDiffusionXLPipeline, and after it StableDiffusionXLImg2ImgPipeline where a request names a refiner."""

    def __init__(self, base: Path, refiner: Path | None = None) -> None:
        self._base = diffusers.StableDiffusionXLPipeline.from_pretrained(
            base, dtype=torch.float32, add_watermarker=False
        )
        self._refiner: Any = refiner and diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(
            refiner, dtype=torch.float32, add_watermarker=False
        )
        self._configs = {id(each): each.scheduler.config for each in (self._base, self._refiner) if each}

    def latents(self, request: ImageRequest) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(request.seed)
        end = None if request.refiner is None else request.refiner_start
        latents = self._call(
            self._base, request, generator, width=request.width, height=request.height, denoising_end=end
        )
        if request.refiner is not None:
            latents = self._call(self._refiner, request, generator, image=latents, denoising_start=end)
        return latents

    def _call(self, pipeline: Any, request: ImageRequest, generator: torch.Generator, **rest: Any) -> torch.Tensor:
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = REFERENCE[request.scheduler](self._configs[id(pipeline)])
        latents: torch.Tensor = pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or None,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=generator,
            output_type="latent",
            **({"guidance_rescale": request.guidance_rescale} if "denoising_end" in rest else {}),
            **rest,
        ).images
        return latents
