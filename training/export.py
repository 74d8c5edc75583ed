"""Writes what was trained as folders that plain diffusers and transformers load, and reads them back to go on.

UNet and VAE are stored in float16, the text encoder in float32: transformers keeps the stored type, and a default
load would otherwise mix halves and floats.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

from training.checkpoint import Checkpoint
from training.clip import IMAGE_MEAN, IMAGE_SIZE, IMAGE_STD


def text_encoder_of(clip: CLIPModel) -> CLIPTextModel:
    """The pair's text side as the text encoder of a Stable Diffusion pipeline."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.eval()


def export_pipeline(
    folder: Path,
    *,
    tokenizer: CLIPTokenizer,
    clip: CLIPModel,
    vae: AutoencoderKL,
    scale: float,
    unet: UNet2DConditionModel,
    noise: DDPMScheduler,
) -> None:
    """Write the pipeline to `folder` in StableDiffusionPipeline's on-disk format."""
    scheduler = DPMSolverMultistepScheduler.from_config(
        noise.config, algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="trailing"
    )
    half_vae = copy.deepcopy(vae).to(torch.float16)
    half_vae.register_to_config(scaling_factor=round(scale, 5))
    StableDiffusionPipeline(
        vae=half_vae,
        text_encoder=text_encoder_of(clip).float(),
        tokenizer=tokenizer,
        unet=copy.deepcopy(unet).to(torch.float16),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    _save_vocabulary(tokenizer, folder / "tokenizer")


def export_clip(folder: Path, *, tokenizer: CLIPTokenizer, clip: CLIPModel) -> None:
    """Write the CLIP pair with its tokenizer and image processor."""
    clip.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    _save_vocabulary(tokenizer, folder)
    CLIPImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=list(IMAGE_MEAN),
        image_std=list(IMAGE_STD),
    ).save_pretrained(folder)


def _save_vocabulary(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Beside `tokenizer.json` the two files that tools older than it read."""
    tokenizer.backend_tokenizer.model.save(str(folder))


def import_checkpoints(models: Path, work: Path) -> None:
    """Turn exported models into checkpoints, all stages done but the UNet's, whose weights only are taken.

    So training goes on from what a repository holds, on a machine that never saw the checkpoints.
    """
    folder = models / "darkroom-tiny"
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    tokenizer.save_pretrained(work / "tokenizer")
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    Checkpoint(work, "clip").save(CLIPModel.from_pretrained(models / "darkroom-tiny-clip"), share=1.0)
    Checkpoint(work, "vae").save(vae, share=1.0)
    Checkpoint(work, "decoder").save(vae, share=1.0)
    Checkpoint(work, "unet").save(unet, share=0.0)
