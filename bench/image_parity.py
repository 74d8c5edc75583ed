"""How far images made from images are from diffusers' own pipelines: image to image, and both kinds of inpainting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from bench.parity import REFERENCE
from engine import ImageRequest


class ImageReference:
    """StableDiffusionImg2ImgPipeline and StableDiffusionInpaintPipeline on the same weights."""

    def __init__(self, folder: Path) -> None:
        self._parts = diffusers.StableDiffusionPipeline.from_pretrained(
            folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
        ).components
        self._config = self._parts["scheduler"].config

    def latents(self, request: ImageRequest) -> torch.Tensor:
        return self._run(request)[0]

    def pixels(self, request: ImageRequest) -> np.ndarray:
        return np.asarray(self._run(request)[1])

    def _run(self, request: ImageRequest) -> tuple[torch.Tensor, Image.Image]:
        masked = request.mask_image is not None
        kind = diffusers.StableDiffusionInpaintPipeline if masked else diffusers.StableDiffusionImg2ImgPipeline
        scheduler = REFERENCE[request.scheduler](self._config)
        pipeline = kind(**{**self._parts, "scheduler": scheduler}, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        assert request.init_image is not None
        picture = Image.fromarray(request.init_image)
        taken: list[torch.Tensor] = []

        def keep(_pipeline: Any, _index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            taken.append(tensors["latents"].clone())  # cropped masks have no output of latents
            return tensors

        images = pipeline(
            request.prompt,
            negative_prompt=request.negative_prompt,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            strength=request.strength,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            callback_on_step_end=keep,
            **(self._masked(pipeline, request, picture) if masked else {"image": self._sized(request, picture)}),
        ).images
        return taken[-1], images[0]

    def _sized(self, request: ImageRequest, picture: Image.Image) -> Image.Image:
        """Image to image takes its size from the picture, so it is resized first, in the way of every processor."""
        processor = diffusers.image_processor.VaeImageProcessor()
        return processor.resize(picture, request.height, request.width)

    def _masked(self, pipeline: Any, request: ImageRequest, picture: Image.Image) -> dict[str, Any]:
        assert request.mask_image is not None
        mask = Image.fromarray(request.mask_image)
        if request.mask_blur:
            mask = pipeline.mask_processor.blur(mask, blur_factor=request.mask_blur)
        return {
            "image": picture,
            "mask_image": mask,
            "width": request.width,
            "height": request.height,
            "padding_mask_crop": request.mask_padding,
        }


def half_mask(height: int, width: int) -> np.ndarray:
    """A mask (height, width) that names the right half."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, width // 2 :] = 255
    return mask
