"""Stable Diffusion XL: base models, and refiners that finish what a base model began.

Does what diffusers' StableDiffusionXLPipeline and StableDiffusionXLImg2ImgPipeline do (Podell et al. 2023): two text
encoders (a refiner has the second one alone), a pooled embedding, and the sizes of the image as conditioning. The
parity tests hold them equal. An empty negative prompt counts as none, so a model that asks for it gets zeros there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import diffusers
import torch

from darkroom.errors import FieldProblem, InvalidParams
from engine.batch import Rows
from engine.decode import Decoding, decode
from engine.denoising import Unfinished
from engine.families.sd import StableDiffusion, text_encoders
from engine.guidance import UNGUIDED_ROWS
from engine.image_inputs import Beginning
from engine.pipelines import PipelineSpec, read_pipeline
from engine.prompt_encoder import TextPart
from engine.samples import ImageRequest
from engine.text import Embedding, same_length, stack
from engine.textual_inversion import read_words

LAYER = -2  # of the text encoders: the last but one, as the models were trained
AESTHETIC_SCORE = 6.0  # what a refiner is told of the image and of its negative, by default
NEGATIVE_AESTHETIC_SCORE = 2.5
TWO_CALLS = 2  # of the model in each step of a second-order sampler


class StableDiffusionXL(StableDiffusion):
    """One loaded Stable Diffusion XL pipeline, seen through the `Family` seam."""

    @classmethod
    def load(cls, spec: PipelineSpec, device: torch.device, dtype: torch.dtype) -> Self:
        pipeline = read_pipeline(_pipeline_class(spec), spec, dtype=dtype)
        if pipeline.vae.config.force_upcast and pipeline.vae.dtype is torch.float16:
            pipeline.vae.to(torch.float32)  # the reference goes to and fro for each image
        return cls(pipeline, device, read_words(spec.embeddings, text_encoders(pipeline)))

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        parts = {name: getattr(self.pipeline, name) for name in ("unet", "text_encoder", "text_encoder_2")}
        return {name: part for name, part in parts.items() if part is not None}

    def encode(self, prompt: str) -> Embedding:
        """The layer before the last of each text encoder side by side, and the second one's pooled embedding."""
        encoded = self._prompts.encode(prompt)
        assert encoded.pooled is not None, "the last text encoder tells it"
        return {"encoder_hidden_states": encoded.hidden, "text_embeds": encoded.pooled}

    def denoise(self, rows: Rows) -> torch.Tensor:
        added = {name: rows.conditioning[name] for name in ("text_embeds", "time_ids")}
        others = {name: each for name, each in rows.conditioning.items() if name not in added}
        prediction: torch.Tensor = self.pipeline.unet(
            rows.latents, rows.timesteps, **others, added_cond_kwargs=added, return_dict=False
        )[0]
        return prediction

    def decode(self, latents: torch.Tensor) -> Decoding:
        vae, config = self.pipeline.vae, self.pipeline.vae.config
        latents = latents.to(vae.dtype)
        if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
            mean, deviation = (torch.tensor(each).view(1, -1, 1, 1).to(latents) for each in _moments(config))
            latents = latents * deviation + mean * config.scaling_factor  # `decode` divides by the factor
        return decode(latents, vae=vae, image_processor=self.pipeline.image_processor)

    def _conditioning(self, request: ImageRequest, encode: Callable[[str], Embedding]) -> dict[str, torch.Tensor]:
        embeddings = same_length([encode(text) for text in self._texts(request)], empty=lambda: encode(""))
        scores = [AESTHETIC_SCORE] * len(embeddings)
        if len(embeddings) > UNGUIDED_ROWS:
            scores[0] = NEGATIVE_AESTHETIC_SCORE
            if not request.negative_prompt and self.pipeline.config.force_zeros_for_empty_prompt:
                embeddings[0] = {name: torch.zeros_like(each) for name, each in embeddings[0].items()}
        return stack(
            [
                {**row, "time_ids": self._time_ids(request, score, like=row)}
                for row, score in zip(embeddings, scores, strict=True)
            ]
        )

    def _begin(
        self,
        request: ImageRequest,
        scheduler: Any,
        generator: torch.Generator,
        *,
        like: torch.Tensor,
        unfinished: Unfinished | None,
    ) -> Beginning:
        if unfinished is not None:
            return self._second_part(request, scheduler, unfinished)
        whole = self._whole(request, scheduler, generator, like=like)
        return whole if request.refiner is None else self._first_part(request, scheduler, whole)

    def _first_part(self, request: ImageRequest, scheduler: Any, whole: Beginning) -> Beginning:
        """The steps above the timestep at which the refiner takes over, as the pipeline's `denoising_end` says."""
        calls = int((whole.timesteps >= _cutoff(request, scheduler)).sum())
        if not 0 < calls < len(whole.timesteps):
            limit = "so that base and refiner both have steps to do"
            raise InvalidParams([FieldProblem("refiner_start", f"must lie {limit}", limit, 0.8)])
        steps = max(whole.num_inference_steps * calls // len(whole.timesteps), 1)
        return replace(
            whole,
            timesteps=whole.timesteps[:calls],
            num_inference_steps=steps,
            steps_after=whole.num_inference_steps - steps,
        )

    def _second_part(self, request: ImageRequest, scheduler: Any, unfinished: Unfinished) -> Beginning:
        """The steps below it, as the image-to-image pipeline's `denoising_start` says."""
        calls = int((scheduler.timesteps < _cutoff(request, scheduler)).sum())
        if scheduler.order == TWO_CALLS and calls % TWO_CALLS == 0:
            calls += 1  # such a sampler starts between two calls of one step; the reference does so too
        first = len(scheduler.timesteps) - calls
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        steps = request.num_inference_steps - unfinished.steps_done
        return Beginning(unfinished.latents, scheduler.timesteps[first:], steps)

    def _time_ids(self, request: ImageRequest, score: float, *, like: Embedding) -> torch.Tensor:
        """(1, 6): original size, crop, size; or (1, 5), where a refiner is told how beautiful the image is."""
        size = (request.height, request.width)
        last = (score,) if getattr(self.pipeline.config, "requires_aesthetics_score", False) else size
        return torch.tensor([[*size, 0, 0, *last]]).to(like["encoder_hidden_states"])

    def _text_parts(self) -> list[TextPart]:
        tokenizers = {"text_encoder": self.pipeline.tokenizer, "text_encoder_2": self.pipeline.tokenizer_2}
        return [
            TextPart(name, tokenizers[name], encoder, layer=LAYER, pooled=name == "text_encoder_2")
            for name, encoder in text_encoders(self.pipeline).items()
        ]


def _cutoff(request: ImageRequest, scheduler: Any) -> int:
    """The timestep at which a refiner takes over."""
    length: int = scheduler.config.num_train_timesteps
    return round(length - request.refiner_start * length)


def _pipeline_class(spec: PipelineSpec) -> Any:
    """The class that the folder names: a refiner's is the image-to-image pipeline."""
    folder = spec.config or spec.source
    refines = "StableDiffusionXLImg2ImgPipeline"
    named: str = diffusers.DiffusionPipeline.load_config(folder, revision=spec.revision)["_class_name"]
    return getattr(diffusers, refines if named == refines else "StableDiffusionXLPipeline")


def _moments(config: Any) -> tuple[Any, Any]:
    return config.latents_mean, config.latents_std
