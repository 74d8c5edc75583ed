"""How far prompts with weights, long ones and embeddings are from diffusers' pipelines with compel's embeddings.

The reference side parses nothing and cuts nothing of its own: compel weighs and chunks (at word ends), diffusers loads
the textual inversions and makes the image from compel's tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from compel.diffusers_textual_inversion_manager import DiffusersTextualInversionManager
from compel.embeddings_provider import EmbeddingsProvider, ReturnedEmbeddingsType, SplitLongTextMode
from safetensors.torch import load_file

from bench.parity import REFERENCE
from darkroom.prompt_syntax import parse_prompt, plain_text
from engine import ImageRequest

_READ = {
    "sd": ReturnedEmbeddingsType.LAST_HIDDEN_STATES_NORMALIZED,
    "sdxl": ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED,
}
_PIPELINES = {"sd": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


class TextReference:
    """One pipeline of diffusers, told by compel what prompts mean."""

    def __init__(self, folder: Path, *, family: str = "sd", embeddings: Mapping[str, Path] | None = None) -> None:
        """`embeddings` are textual inversions' files by word."""
        extra = {"safety_checker": None, "requires_safety_checker": False} if family == "sd" else {}
        self.pipeline = getattr(diffusers, _PIPELINES[family]).from_pretrained(folder, dtype=torch.float32, **extra)
        self.pipeline.set_progress_bar_config(disable=True)
        self._config = self.pipeline.scheduler.config
        self._parts = [(self.pipeline.tokenizer, self.pipeline.text_encoder)]
        if family == "sdxl":
            self._parts.append((self.pipeline.tokenizer_2, self.pipeline.text_encoder_2))
        for word, path in (embeddings or {}).items():
            self._load(word, path)
        words = DiffusersTextualInversionManager(self.pipeline) if embeddings else None
        self._providers = [
            EmbeddingsProvider(
                tokenizer,
                encoder,
                textual_inversion_manager=words,
                truncate=False,
                returned_embeddings_type=_READ[family],
                split_long_text_mode=SplitLongTextMode.WORDS,
            )
            for tokenizer, encoder in self._parts
        ]

    @torch.no_grad()
    def embedding(self, prompt: str) -> torch.Tensor:
        """(1, tokens, width)."""
        fragments = parse_prompt(prompt)
        texts, weights = [each.text for each in fragments], [each.weight for each in fragments]
        told = [each.get_embeddings_for_weighted_prompt_fragments([texts], [weights]) for each in self._providers]
        return torch.cat([each.reshape(1, -1, each.shape[-1]) for each in told], dim=-1)

    @torch.no_grad()
    def pooled(self, prompt: str) -> torch.Tensor:
        """(1, width), of a model that has it: of the text alone."""
        told: torch.Tensor = self._providers[-1].get_pooled_embeddings([plain_text(prompt)])
        return told

    @torch.no_grad()
    def latents(self, request: ImageRequest) -> torch.Tensor:
        wanted = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
        told = {name: self.embedding(prompt) for name, prompt in wanted.items()}
        longest = max(each.shape[1] for each in told.values())
        tensors = {f"{name}_embeds": self._drawn_out(each, longest) for name, each in told.items()}
        if len(self._parts) > 1:
            tensors["pooled_prompt_embeds"] = self.pooled(request.prompt)
            tensors["negative_pooled_prompt_embeds"] = self.pooled(request.negative_prompt)
        self.pipeline.scheduler = REFERENCE[request.scheduler](self._config)
        latents: torch.Tensor = self.pipeline(
            **tensors,
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type="latent",
        ).images
        return latents

    def _drawn_out(self, embedding: torch.Tensor, tokens: int) -> torch.Tensor:
        empty = torch.cat([each.empty_z for each in self._providers], dim=-1)
        while embedding.shape[1] < tokens:
            embedding = torch.cat([embedding, empty], dim=1)
        return embedding

    def _load(self, word: str, path: Path) -> None:
        """As diffusers' users do: the file itself, or its tensor for each text encoder."""
        if len(self._parts) == 1:
            self.pipeline.load_textual_inversion(str(path.parent), weight_name=path.name, token=word)
            return
        tensors: dict[str, Any] = load_file(path)
        for (tokenizer, encoder), name in zip(self._parts, ("clip_l", "clip_g"), strict=True):
            self.pipeline.load_textual_inversion(tensors[name], token=word, tokenizer=tokenizer, text_encoder=encoder)
