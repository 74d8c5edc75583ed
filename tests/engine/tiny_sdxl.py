"""Stable Diffusion XL pipelines with tiny random weights, base and refiner, in the exact on-disk format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from tests.engine.tiny import TEXT_WIDTH, _text_encoder, _tokenizer, _vae

TIME_WIDTH = 8  # of each number among the time ids
BASE_IDS, REFINER_IDS = 6, 5


def save_tiny_sdxl(folder: Path) -> Path:
    """Write a random base pipeline (64x64 pixels)."""
    torch.manual_seed(10)
    StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(),
        text_encoder_2=_projecting_encoder(),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=_unet(cross_attention_dim=2 * TEXT_WIDTH, ids=BASE_IDS),
        scheduler=_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def save_tiny_refiner(folder: Path) -> Path:
    """Write a random refiner: the second text encoder alone, and an aesthetic score among its time ids."""
    torch.manual_seed(11)
    StableDiffusionXLImg2ImgPipeline(
        vae=_vae(),
        text_encoder=None,
        text_encoder_2=_projecting_encoder(),
        tokenizer=None,
        tokenizer_2=_tokenizer(),
        unet=_unet(cross_attention_dim=TEXT_WIDTH, ids=REFINER_IDS),
        scheduler=_scheduler(),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def _unet(*, cross_attention_dim: int, ids: int) -> Any:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=ids * TIME_WIDTH + TEXT_WIDTH,
    )


def _projecting_encoder() -> Any:
    config: CLIPTextConfig = _text_encoder().config
    config.projection_dim = TEXT_WIDTH
    return CLIPTextModelWithProjection(config).eval()


def _scheduler() -> Any:
    return EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )
