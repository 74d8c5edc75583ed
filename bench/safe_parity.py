"""How far safe-guided images are from diffusers' StableDiffusionPipelineSafe, which it keeps as a deprecated one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import diffusers
import torch

from bench.parity import REFERENCE, Reference
from engine import ImageRequest


class SafeReference(Reference):
    """diffusers' pipeline for safe latent guidance on the same weights."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = diffusers.StableDiffusionPipelineSafe.from_pretrained(
            folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self._config = self.pipeline.scheduler.config

    def _call(
        self, request: ImageRequest, prompts: list[str], seeds: list[int], *, on_step: Callable[[torch.Tensor], None]
    ) -> None:
        safe = request.safe_guidance
        assert safe is not None, "what has no safe guidance has another reference"
        self.pipeline.scheduler = REFERENCE[request.scheduler](self._config)
        self.pipeline.safety_concept = safe.concept
        self.pipeline(
            prompt=prompts,
            negative_prompt=[request.negative_prompt] * len(prompts),
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="np",
            callback=lambda _step, _timestep, latents: on_step(latents.clone()),
            sld_guidance_scale=safe.scale,
            sld_warmup_steps=safe.warmup_steps,
            sld_threshold=safe.threshold,
            sld_momentum_scale=safe.momentum_scale,
            sld_mom_beta=safe.momentum_beta,
        )
