"""Where a sample starts that is given an image: image to image, and inpainting with 4- and 9-channel UNets.

Does what diffusers' StableDiffusionImg2ImgPipeline and StableDiffusionInpaintPipeline do, and their twins for SDXL, in
the same order and with the same random numbers, as more conditioning of a sample rather than as other pipelines. Knows
arrays and a VAE; where the images come from is not its business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from darkroom.errors import InvalidParams
from engine.denoising import ImageConditioning
from engine.image_problems import image_problems, steps_left
from engine.samples import ImageRequest

INPAINT_CHANNELS = 9  # of a UNet made for inpainting: latents, mask, latents of the masked image


@dataclass(frozen=True)
class Beginning:
    """What the first step of a sample takes."""

    latents: torch.Tensor  # (1, channels, height/8, width/8), noised for the first timestep
    timesteps: torch.Tensor  # one per model call
    num_inference_steps: int  # that are left to do
    image: ImageConditioning | None = None
    steps_after: int = 0  # that are another model's


@dataclass(frozen=True)
class _Overlay:
    """How a repainted crop is put back into its image."""

    processor: VaeImageProcessor
    mask: Image.Image
    original: Image.Image
    box: tuple[int, int, int, int]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(self.processor.apply_overlay(self.mask, self.original, Image.fromarray(pixels), self.box))


@dataclass(eq=False)
class Inpainting:
    """Keeps what the mask does not name: by channels of the UNet, or by blending it back after each step."""

    mask: torch.Tensor  # (1, 1, height/8, width/8); 1 is repainted
    scheduler: Any
    image_latents: torch.Tensor | None = None  # (1, c, h/8, w/8), for blending
    noise: torch.Tensor | None = None  # the sample's first noise, for blending
    masked_latents: torch.Tensor | None = None  # (1, c, h/8, w/8), for a 9-channel UNet
    overlay: _Overlay | None = None

    def extend(self, model_input: torch.Tensor) -> torch.Tensor:
        if self.masked_latents is None:
            return model_input
        rows = len(model_input)
        extra = [each.expand(rows, -1, -1, -1) for each in (self.mask, self.masked_latents)]
        return torch.cat([model_input, *extra], dim=1)

    def after_step(self, latents: torch.Tensor, next_timestep: torch.Tensor | None) -> torch.Tensor:
        if self.image_latents is None:
            return latents
        kept = self.image_latents
        if next_timestep is not None:
            kept = self.scheduler.add_noise(kept, self.noise, torch.stack([next_timestep]))
        return (1 - self.mask) * kept + self.mask * latents

    def finish(self, pixels: np.ndarray) -> np.ndarray:
        return pixels if self.overlay is None else self.overlay(pixels)


class ImageInputs:
    """Reads requests' images for one model.

    Args:
        vae: an AutoencoderKL; its dtype may be another than the UNet's.
        factor: pixels to a latent's side.
        in_channels: of the UNet.
    """

    def __init__(self, *, vae: Any, factor: int, in_channels: int) -> None:
        self._vae = vae
        self._channels: int = vae.config.latent_channels
        self._factor = factor
        self.inpaints_by_channels = in_channels == INPAINT_CHANNELS
        self._pictures = VaeImageProcessor(vae_scale_factor=factor)
        self._masks = VaeImageProcessor(
            vae_scale_factor=factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )

    def check(self, request: ImageRequest) -> None:
        """Refuse what can't be begun.

        Raises:
            InvalidParams: naming the fields.
        """
        if problems := list(image_problems(request, inpaints_by_channels=self.inpaints_by_channels)):
            raise InvalidParams(problems)

    def begin(
        self, request: ImageRequest, scheduler: Any, generator: torch.Generator, *, like: torch.Tensor
    ) -> Beginning:
        """A sample's beginning from its image; `scheduler` has its timesteps set and gets its begin index.

        Args:
            like: a tensor of the device and dtype that the latents shall have.
        """
        skipped = request.num_inference_steps - steps_left(request)
        first = skipped * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        timesteps = scheduler.timesteps[first:]
        begin = self._from_image if request.mask_image is None else self._from_masked
        latents, image = begin(request, scheduler, timesteps[:1], generator, like)
        return Beginning(latents, timesteps, steps_left(request), image)

    def _from_image(
        self, request: ImageRequest, scheduler: Any, first: torch.Tensor, generator: torch.Generator, like: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        picture = _picture(request.init_image)
        pixels = self._pictures.preprocess(picture, height=request.height, width=request.width)
        latents = self._latents(pixels, generator, like)
        noise = randn_tensor(latents.shape, generator=generator, device=like.device, dtype=like.dtype)
        return scheduler.add_noise(latents, noise, first), None

    def _from_masked(
        self, request: ImageRequest, scheduler: Any, first: torch.Tensor, generator: torch.Generator, like: torch.Tensor
    ) -> tuple[torch.Tensor, Inpainting]:
        picture, mask = _picture(request.init_image), _picture(request.mask_image)
        if request.mask_blur:
            mask = self._masks.blur(mask, blur_factor=request.mask_blur)
        size: dict[str, Any] = {"height": request.height, "width": request.width}
        overlay = None
        if request.mask_padding is not None:
            box = self._masks.get_crop_region(mask, request.width, request.height, pad=request.mask_padding)
            size |= {"crops_coords": box, "resize_mode": "fill"}
            overlay = _Overlay(self._pictures, mask, picture, box)
        pixels = self._pictures.preprocess(picture, **size)
        whole = self._masks.preprocess(mask, **size)  # (1, 1, h, w) of 0 and 1

        from_noise = request.strength == 1
        latents = None
        if not self.inpaints_by_channels or not from_noise:
            latents = self._latents(pixels, generator, like)
        shape = (1, self._channels, request.height // self._factor, request.width // self._factor)
        noise = randn_tensor(shape, generator=generator, device=like.device, dtype=like.dtype)
        start = noise * scheduler.init_noise_sigma if from_noise else scheduler.add_noise(latents, noise, first)
        small = torch.nn.functional.interpolate(whole, size=shape[2:]).to(like)
        inpainting = Inpainting(small, scheduler, overlay=overlay)
        if self.inpaints_by_channels:
            inpainting.masked_latents = self._latents(pixels * (whole < 0.5), generator, like)
        else:
            # The reference encodes the masked image here as well and makes no use of it, but for the random numbers.
            randn_tensor(shape, generator=generator, device=like.device, dtype=like.dtype)
            inpainting.image_latents, inpainting.noise = latents, noise
        return start, inpainting

    def _latents(self, pixels: torch.Tensor, generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
        """Encode pixels (1, 3, h, w) in [-1, 1]."""
        config = self._vae.config
        pixels = pixels.to(device=like.device, dtype=self._vae.dtype)
        latents: torch.Tensor = self._vae.encode(pixels).latent_dist.sample(generator).to(like)
        # SDXL's inpainting pipeline forgets the shift here and undoes it at the end, which discolours what is kept.
        if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
            mean, deviation = (
                torch.tensor(each).view(1, -1, 1, 1).to(like) for each in (config.latents_mean, config.latents_std)
            )
            latents = (latents - mean) / deviation
        scaled: torch.Tensor = latents * config.scaling_factor
        return scaled


def _picture(array: np.ndarray | None) -> Image.Image:
    assert array is not None, "a request without an image begins from noise"
    return Image.fromarray(array)
