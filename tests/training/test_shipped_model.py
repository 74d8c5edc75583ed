"""The models in the repository are what their cards say: format, stored types, sizes, and pictures that fit."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel

from darkroom.catalogue import load_catalogue
from training.captions import plain_prompt
from training.judge import load_judge
from training.scenes import Combination

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "darkroom-tiny"
CLIP = ROOT / "models" / "darkroom-tiny-clip"
MEGABYTE = 1_000_000
ASKED = (
    Combination("circle", "red", "blue"),
    Combination("square", "yellow", "black"),
    Combination("triangle", "green", "white"),
    Combination("cross", "white", "red"),
    Combination("square", "black", "yellow"),
    Combination("circle", "pink", "green"),
    Combination("ring", "blue", "white"),
    Combination("triangle", "orange", "purple"),
    Combination("circle", "white", "black"),
    Combination("square", "red", "cyan"),
    Combination("diamond", "purple", "yellow"),
    Combination("cross", "cyan", "black"),
)


def _stored_types(file: Path) -> set[str]:
    with file.open("rb") as weights:
        header = json.loads(weights.read(struct.unpack("<Q", weights.read(8))[0]))
    return {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_models_keep_within_their_sizes() -> None:
    assert _size(MODEL) <= 16 * MEGABYTE
    assert _size(CLIP) <= 8 * MEGABYTE


def test_unet_and_vae_are_stored_in_halves_and_the_text_encoder_in_floats() -> None:
    assert _stored_types(MODEL / "unet" / "diffusion_pytorch_model.safetensors") == {"F16"}
    assert _stored_types(MODEL / "vae" / "diffusion_pytorch_model.safetensors") == {"F16"}
    assert _stored_types(MODEL / "text_encoder" / "model.safetensors") == {"F32"}


def test_a_default_load_mixes_no_types() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL)

    types = {part.dtype for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)}
    assert types == {torch.float32}


def test_the_text_encoder_is_the_clip_pair_s_text_side() -> None:
    pipeline, clip = StableDiffusionPipeline.from_pretrained(MODEL), CLIPModel.from_pretrained(CLIP)
    tokens = pipeline.tokenizer(["a red circle on a blue background"], padding="max_length", return_tensors="pt")

    with torch.no_grad():
        ours = pipeline.text_encoder(tokens.input_ids).last_hidden_state
        theirs = clip.text_model(input_ids=tokens.input_ids).last_hidden_state

    assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_pictures_show_the_colours_and_mostly_the_shapes_that_were_asked_for(tmp_path: Path) -> None:
    model = load_catalogue(ROOT / "catalogue.toml").default_model
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL)
    pipeline.set_progress_bar_config(disable=True)
    judge = load_judge(ROOT / "bench")

    images = pipeline(
        [plain_prompt(*asked) for asked in ASKED],
        num_inference_steps=model.num_inference_steps,
        guidance_scale=model.guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(ASKED))],
    ).images
    seen = [judge.see(image) for image in images]

    assert sum(a.background == s.background for a, s in zip(ASKED, seen, strict=True)) >= 11
    assert sum(a.colour == s.colour for a, s in zip(ASKED, seen, strict=True)) >= 10
    assert sum(a.shape == s.shape for a, s in zip(ASKED, seen, strict=True)) >= 9
