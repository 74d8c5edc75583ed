"""Stable Diffusion 1.x and 2.x, epsilon and v-prediction.

Does what diffusers' StableDiffusionPipeline does, in the same order and with the same random numbers, cut into pieces
that a batch of strangers can share. The parity tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any, Self

import diffusers
import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from darkroom.errors import FieldProblem, InvalidParams
from engine.batch import Rows
from engine.decode import Decoding, decode
from engine.denoising import Denoising, Unfinished
from engine.guidance import Guidance, GuidanceTerm
from engine.image_inputs import Beginning, ImageInputs
from engine.pipelines import PipelineSpec, read_pipeline
from engine.previews import LatentPreview
from engine.prompt_encoder import PromptEncoder, TextPart
from engine.safe_guidance import SafetyTerm
from engine.samples import ImageRequest
from engine.schedulers import make_scheduler, step_kwargs
from engine.text import Embedding, same_length, stack
from engine.textual_inversion import Word, read_words


class StableDiffusion:
    """One loaded Stable Diffusion pipeline, seen through the `Family` seam."""

    def __init__(self, pipeline: Any, device: torch.device, words: Mapping[str, Word] = MappingProxyType({})) -> None:
        """`words` are what embeddings add to its vocabulary."""
        self.pipeline = pipeline
        self.device = device
        self._prompts = PromptEncoder(self._text_parts, device, words)
        self._images = ImageInputs(
            vae=pipeline.vae, factor=pipeline.vae_scale_factor, in_channels=pipeline.unet.config.in_channels
        )
        self._preview = LatentPreview.fit(pipeline.vae, scale=pipeline.vae_scale_factor)

    @classmethod
    def load(cls, spec: PipelineSpec, device: torch.device, dtype: torch.dtype) -> Self:
        pipeline = read_pipeline(diffusers.StableDiffusionPipeline, spec, dtype=dtype)
        return cls(pipeline, device, read_words(spec.embeddings, text_encoders(pipeline)))

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        return {"unet": self.pipeline.unet, "text_encoder": self.pipeline.text_encoder}

    def key(self, request: ImageRequest) -> Hashable:
        chunks = max(self._prompts.chunks(prompt) for prompt in self._texts(request))
        return (request.height, request.width, chunks)

    def rows(self, request: ImageRequest) -> int:
        return len(self._texts(request))

    def encode(self, prompt: str) -> Embedding:
        return {"encoder_hidden_states": self._prompts.encode(prompt).hidden}

    def prepare(
        self, request: ImageRequest, encode: Callable[[str], Embedding], *, unfinished: Unfinished | None = None
    ) -> Denoising:
        self._check_size(request)
        self._images.check(request)
        conditioning = self._conditioning(request, encode)
        # The CPU's random numbers are the same everywhere.
        generator = unfinished.generator if unfinished else torch.Generator("cpu").manual_seed(request.seed)
        scheduler = make_scheduler(
            request.scheduler, self.pipeline.scheduler.config, num_inference_steps=request.num_inference_steps
        )
        words = conditioning["encoder_hidden_states"]
        beginning = self._begin(request, scheduler, generator, like=words, unfinished=unfinished)
        return Denoising(
            latents=beginning.latents,
            conditioning={**conditioning, **self._guidance_embedding(request, words.dtype)},
            rows=self.rows(request),
            scheduler=scheduler,
            timesteps=beginning.timesteps,
            step_kwargs=step_kwargs(request.scheduler, scheduler, generator),
            guidance=self._guidance(request),
            num_inference_steps=beginning.num_inference_steps,
            generator=generator,
            steps_before=unfinished.steps_done if unfinished else 0,
            steps_after=beginning.steps_after,
            image=beginning.image,
            term=unfinished.term if unfinished else _term(request),
        )

    def _conditioning(self, request: ImageRequest, encode: Callable[[str], Embedding]) -> dict[str, torch.Tensor]:
        """Each input's rows, the negative prompt's first."""
        return stack(same_length([encode(prompt) for prompt in self._texts(request)], empty=lambda: encode("")))

    def _texts(self, request: ImageRequest) -> list[str]:
        """What is encoded for a request, row by row."""
        if request.safe_guidance is not None:
            return [request.negative_prompt, request.prompt, request.safe_guidance.concept]
        return [request.negative_prompt, request.prompt] if self._guided(request) else [request.prompt]

    def _text_parts(self) -> list[TextPart]:
        return [TextPart("text_encoder", self.pipeline.tokenizer, self.pipeline.text_encoder)]

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

    def _guidance(self, request: ImageRequest) -> Guidance:
        """A safe-guided sample has all its rows at any scale: without guidance of its own it goes where they say."""
        return request.guidance if self._guided(request) or request.safe_guidance is None else Guidance()

    def _check_size(self, request: ImageRequest) -> None:
        factor = self.pipeline.vae_scale_factor
        for name, value in (("width", request.width), ("height", request.height)):
            if value <= 0 or value % factor:
                nearest = max(round(value / factor), 1) * factor
                raise InvalidParams([FieldProblem(name, f"must be a multiple of {factor}", str(factor), nearest)])

    def _begin(
        self,
        request: ImageRequest,
        scheduler: Any,
        generator: torch.Generator,
        *,
        like: torch.Tensor,
        unfinished: Unfinished | None,
    ) -> Beginning:
        if request.refiner is not None or unfinished is not None:
            problem = FieldProblem("refiner", "this family has no base and refiner models", "")
            raise InvalidParams([problem])
        return self._whole(request, scheduler, generator, like=like)

    def _whole(
        self, request: ImageRequest, scheduler: Any, generator: torch.Generator, *, like: torch.Tensor
    ) -> Beginning:
        """A beginning whose steps this model does all."""
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
        rows = embedding.expand(self.rows(request), -1)
        return {"timestep_cond": rows.to(device=self.device, dtype=dtype)}  # (rows, width)


def _term(request: ImageRequest) -> GuidanceTerm | None:
    return None if request.safe_guidance is None else SafetyTerm(request.safe_guidance)


def text_encoders(pipeline: Any) -> dict[str, Any]:
    """A pipeline's text encoders by name, in the order in which their embeddings stand side by side."""
    encoders = {name: getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2")}
    return {name: encoder for name, encoder in encoders.items() if encoder is not None}
