"""What the LoRA tests train on: random pipelines of both families, and a folder of three captioned pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.engine.tiny import save_tiny_pipeline
from training.lora.base import Base, load_base
from training.lora.examples import Examples, encode_pictures
from training.lora.pictures import open_folder
from training.lora.settings import LoraSettings
from training.lora.trainer import Trainer

SIZE = 64
COLOURS = {"red": (220, 20, 20), "green": (20, 180, 40), "blue": (30, 40, 220)}


def save_pictures(folder: Path, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Path:
    """A folder of plain pictures, each with its caption beside it."""
    folder.mkdir(parents=True)
    for name, rgb in colours.items():
        Image.new("RGB", (80, 60), rgb).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"plain {name}\n")
    return folder


def save_tiny_xl(folder: Path) -> Path:
    """A random SDXL pipeline with its two text encoders, 64x64 pixels."""
    small = StableDiffusionPipeline.from_pretrained(save_tiny_pipeline(folder / "sd"))
    torch.manual_seed(1)
    config = CLIPTextConfig(**{**small.text_encoder.config.to_dict(), "projection_dim": 24})
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=64,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=small.vae,
        text_encoder=CLIPTextModel(config).eval(),
        text_encoder_2=CLIPTextModelWithProjection(config).eval(),
        tokenizer=small.tokenizer,
        tokenizer_2=small.tokenizer,
        unet=unet,
        scheduler=small.scheduler,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder / "xl")
    return folder / "xl"


def make_settings(**changes: Any) -> LoraSettings:
    """A few steps of a small LoRA in full precision."""
    values: dict[str, Any] = {"rank": 4, "alpha": 4.0, "size": SIZE, "steps": 6, "batch": 2, "rate": 1e-2}
    return LoraSettings(**{**values, "warm_up": 1, "low_precision": False, **changes})


def encode_folder(base: Base, folder: Path, settings: LoraSettings) -> Examples:
    pictures = open_folder(folder)
    return encode_pictures(base, pictures, size=SIZE, name="pictures", keep_words=not settings.train_text)


def make_trainer(model: Path, pictures: Path, settings: LoraSettings, *, prior: Path | None = None) -> Trainer:
    """A trainer of a model that was loaded for it alone."""
    base = load_base(model, torch.device("cpu"))
    kept = encode_folder(base, prior, settings) if prior else None
    return Trainer(base, settings, encode_folder(base, pictures, settings), kept)
