"""Training runs end to end, goes on from its checkpoints, and writes a pipeline that plain diffusers loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPModel

from training.unet import SCHEDULES, make_noise_schedule

ROOT = Path(__file__).parents[2]


def _pretrain(folder: Path, *more: str) -> None:
    command = [sys.executable, "-m", "training.pretrain", "--quick", "--threads", "1"]
    command += ["--work", str(folder / "work"), "--out", str(folder / "models"), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_one_command_trains_a_pipeline_and_runs_again_from_where_it_was(tmp_path: Path) -> None:
    _pretrain(tmp_path)
    weights = (tmp_path / "work" / "unet.safetensors").read_bytes()
    _pretrain(tmp_path, "--stages", "unet", "export")

    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "models" / "darkroom-tiny")
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red circle", num_inference_steps=2).images[0]
    assert image.size == (128, 128)
    assert CLIPModel.from_pretrained(tmp_path / "models" / "darkroom-tiny-clip").config.projection_dim == 128
    assert (tmp_path / "work" / "unet.safetensors").read_bytes() == weights  # a finished stage is not trained again


@pytest.mark.slow
def test_training_goes_on_from_exported_weights_alone(tmp_path: Path) -> None:
    _pretrain(tmp_path, "--start-from", "models", "--stages", "unet", "export")

    for part in ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        shipped = ROOT / "models" / "darkroom-tiny" / part
        assert (tmp_path / "models" / "darkroom-tiny" / part).read_bytes() == shipped.read_bytes()
    unet = "unet/diffusion_pytorch_model.safetensors"
    shipped_unet = load_file(ROOT / "models" / "darkroom-tiny" / unet)
    unet_now = load_file(tmp_path / "models" / "darkroom-tiny" / unet)
    moved = [float((unet_now[name].float() - before.float()).abs().mean()) for name, before in shipped_unet.items()]
    assert 0 < sum(moved) / len(moved) < 0.02  # it learnt on, it did not start anew


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_grows_along_every_schedule(schedule: str) -> None:
    remaining = make_noise_schedule(schedule, "epsilon").alphas_cumprod

    assert bool((remaining.diff() < 0).all())
    assert float(remaining[0]) > 0.99
    assert float(remaining[-1]) < 0.01
