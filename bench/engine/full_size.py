"""Stable Diffusion 1.5 and SDXL at full size with random weights, in diffusers' folder format.

Speed does not depend on what the weights say, so a machine without the checkpoints can be measured all the same. The
shapes are those of the published configs; `shrink` makes small ones of the same build, to try a program with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

HEAD_WIDTH = 64
SPECIALS = ("<|startoftext|>", "<|endoftext|>")


@dataclass(frozen=True)
class FullSize:
    """A family at the size that it is known by."""

    family: str
    pipeline: Any
    side: int  # pixels
    teraflops: float  # of one guided image of 20 steps, decoded (bench/engine/gpu.py has the source)
    save: Callable[[Path, torch.dtype, int], None]


def _save_sd15(folder: Path, dtype: torch.dtype, shrink: int) -> None:
    text = _text_config(768, layers=12, heads=12, act="quick_gelu", shrink=shrink)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=_widths((320, 640, 1280, 1280), shrink),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2 if shrink == 1 else 1,
        cross_attention_dim=text.hidden_size,
        attention_head_dim=8,
    )
    StableDiffusionPipeline(
        vae=_vae(512, 0.18215, shrink),
        text_encoder=CLIPTextModel(text),
        tokenizer=_tokenizer(),
        unet=unet,
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(dtype=dtype).save_pretrained(folder)


def _save_sdxl(folder: Path, dtype: torch.dtype, shrink: int) -> None:
    first = _text_config(768, layers=12, heads=12, act="quick_gelu", shrink=shrink)
    second = _text_config(1280, layers=32, heads=20, act="gelu", shrink=shrink)
    widths = _widths((320, 640, 1280), shrink)
    id_width, ids = 256 // shrink // 2 * 2, 6
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2 if shrink == 1 else 1,
        transformer_layers_per_block=(1, 2, 10) if shrink == 1 else (1, 1, 2),
        cross_attention_dim=first.hidden_size + second.hidden_size,
        attention_head_dim=tuple(max(width // HEAD_WIDTH, 1) for width in widths),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=id_width,
        projection_class_embeddings_input_dim=ids * id_width + second.hidden_size,
    )
    StableDiffusionXLPipeline(
        vae=_vae(1024, 0.13025, shrink),
        text_encoder=CLIPTextModel(first),
        text_encoder_2=CLIPTextModelWithProjection(second),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=unet,
        scheduler=_scheduler(),
        add_watermarker=False,
    ).to(dtype=dtype).save_pretrained(folder)


FULL_SIZES: Mapping[str, FullSize] = MappingProxyType(
    {
        "sd15": FullSize("sd", StableDiffusionPipeline, 512, 34.7, _save_sd15),
        "sdxl": FullSize("sdxl", StableDiffusionXLPipeline, 1024, 281.0, _save_sdxl),
    }
)


def _widths(full: tuple[int, ...], shrink: int) -> tuple[int, ...]:
    return tuple(width // shrink // 32 * 32 or 32 for width in full)  # group norm wants multiples of 32


def _text_config(width: int, *, layers: int, heads: int, act: str, shrink: int) -> Any:
    vocabulary = _vocabulary()
    width = width // shrink // heads * heads
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers if shrink == 1 else 2,
        num_attention_heads=heads,
        hidden_act=act,
        vocab_size=49_408,
        bos_token_id=len(vocabulary) - 2,
        eos_token_id=len(vocabulary) - 1,
        pad_token_id=len(vocabulary) - 1,
    )


def _vae(side: int, scale: float, shrink: int) -> Any:
    return AutoencoderKL(
        block_out_channels=_widths((128, 256, 512, 512), shrink),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=side,
        scaling_factor=scale,
        force_upcast=False,  # as the fp16 VAE that SDXL is served with
    )


def _scheduler() -> Any:
    return EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )


def _vocabulary() -> dict[str, int]:
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    return {token: index for index, token in enumerate([*letters, *(f"{x}</w>" for x in letters), *SPECIALS])}


def _tokenizer() -> Any:
    return CLIPTokenizer(vocab=_vocabulary(), merges=[], model_max_length=77)
