"""Stable Diffusion pipelines with tiny random weights, in the exact on-disk format of the real ones.

Random weights paint noise, but every number takes the same way as in a trained model, which is what parity needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TEXT_WIDTH = 32
SPECIALS = ("<|startoftext|>", "<|endoftext|>")


def save_tiny_pipeline(
    folder: Path,
    *,
    prediction_type: str = "epsilon",
    time_cond_proj_dim: int | None = None,
    in_channels: int = 4,
) -> Path:
    """Write a random pipeline (64x64 pixels, 8x8x4 latents) in diffusers' folder format."""
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        unet=_unet(time_cond_proj_dim, in_channels),
        vae=_vae(),
        text_encoder=_text_encoder(),
        tokenizer=_tokenizer(),
        scheduler=DPMSolverMultistepScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            prediction_type=prediction_type,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def _unet(time_cond_proj_dim: int | None, in_channels: int) -> Any:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,
        norm_num_groups=8,
        time_cond_proj_dim=time_cond_proj_dim,
    )


def _vae() -> Any:
    """Scales by 8, as the real one, so that sizes mean the same."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def _text_encoder() -> Any:
    config = CLIPTextConfig(
        vocab_size=len(_vocabulary()),
        hidden_size=TEXT_WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=len(_vocabulary()) - 2,
        eos_token_id=len(_vocabulary()) - 1,
        pad_token_id=len(_vocabulary()) - 1,
    )
    return CLIPTextModel(config).eval()


def _vocabulary() -> dict[str, int]:
    """Single letters: each inside a word and at its end, as CLIP's byte-pair vocabulary begins."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    return {token: index for index, token in enumerate([*letters, *(f"{x}</w>" for x in letters), *SPECIALS])}


def _tokenizer() -> Any:
    return CLIPTokenizer(vocab=_vocabulary(), merges=[], model_max_length=77)
