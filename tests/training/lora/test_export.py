"""Exports load into plain diffusers, in both formats, and say in their headers what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open

from engine.lora.file import AdapterFile, read_adapter
from engine.lora.targets import Targets
from tests.training.lora.tiny import SIZE, make_settings, make_trainer
from training.lora.export import Card, TrainedLora, export
from training.lora.settings import LoraSettings

CARD = Card("walls", "tiny", "CC0-1.0", "wallish")
CONVOLUTIONS = ("to_q", "to_v", "conv1")


def _export(model: Path, pictures: Path, folder: Path, settings: LoraSettings) -> dict[str, Path]:
    trainer = make_trainer(model, pictures, settings)
    trainer.train()
    lora = TrainedLora(trainer._base, trainer.parts, settings, CARD)
    files = {form: folder / f"{form}.safetensors" for form in ("diffusers", "kohya")}
    for form, file in files.items():
        export(lora, file, form=form, dtype=torch.float32)
    return files


def _image(model: Path, lora: Path | None, **call: Any) -> np.ndarray:
    pipeline = DiffusionPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    if lora is not None:
        pipeline.load_lora_weights(lora.parent, weight_name=lora.name)
    generator = torch.Generator().manual_seed(3)
    images = pipeline(
        "plain red", height=SIZE, width=SIZE, num_inference_steps=3, generator=generator, output_type="np", **call
    ).images
    return np.asarray(images[0])


@pytest.mark.parametrize(
    "settings",
    [
        make_settings(),
        make_settings(rank=4, alpha=2.0, train_text=True),
        make_settings(rank=3, alpha=6.0, targets=CONVOLUTIONS),
    ],
    ids=["attention", "with the text encoder", "convolutions"],
)
def test_both_formats_change_plain_diffusers_images_alike(
    settings: LoraSettings, model: Path, pictures: Path, tmp_path: Path
) -> None:
    files = _export(model, pictures, tmp_path, settings)

    ours, kohya, base = (_image(model, file) for file in (files["diffusers"], files["kohya"], None))

    assert np.abs(ours - base).max() > 0.01
    np.testing.assert_allclose(ours, kohya, atol=1e-5)


def test_sdxl_exports_load_in_both_formats(xl_model: Path, pictures: Path, tmp_path: Path) -> None:
    files = _export(xl_model, pictures, tmp_path, make_settings(alpha=2.0, train_text=True))

    ours, kohya, base = (_image(xl_model, file) for file in (files["diffusers"], files["kohya"], None))

    assert np.abs(ours - base).max() > 0.01
    np.testing.assert_allclose(ours, kohya, atol=1e-5)


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_the_header_says_what_the_file_is(form: str, model: Path, pictures: Path, tmp_path: Path) -> None:
    files = _export(model, pictures, tmp_path, make_settings(steps=1, alpha=2.0))

    with safe_open(files[form], "pt") as opened:
        said = opened.metadata()

    assert said["ss_sd_model_name"] == "tiny"
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("4", "2")
    assert said["modelspec.license"] == "CC0-1.0"
    assert said["modelspec.trigger_phrase"] == "wallish"
    assert said["modelspec.prediction_type"] == "v"


def test_the_same_training_writes_the_same_bytes(model: Path, pictures: Path, tmp_path: Path) -> None:
    first = _export(model, pictures, tmp_path / "a", make_settings(steps=2))
    second = _export(model, pictures, tmp_path / "b", make_settings(steps=2))

    assert all(first[form].read_bytes() == second[form].read_bytes() for form in first)


@pytest.mark.parametrize("text", [False, True])
def test_the_engine_reads_both_formats_alike(text: bool, model: Path, pictures: Path, tmp_path: Path) -> None:
    files = _export(model, pictures, tmp_path, make_settings(alpha=2.0, train_text=text))
    pipeline = DiffusionPipeline.from_pretrained(model)
    targets = Targets({"unet": pipeline.unet, "text_encoder": pipeline.text_encoder})

    ours, kohya = (
        read_adapter(
            AdapterFile("walls", "tiny", file, hashlib.sha256(file.read_bytes()).hexdigest()),
            targets,
            torch.device("cpu"),
        )
        for file in (files["diffusers"], files["kohya"])
    )

    assert ours.parts == kohya.parts == ({"unet", "text_encoder"} if text else {"unet"})
    assert ours.deltas.keys() == kohya.deltas.keys()
    assert all(torch.equal(delta.up, kohya.deltas[place].up) for place, delta in ours.deltas.items())
    assert {delta.factor for delta in (*ours.deltas.values(), *kohya.deltas.values())} == {0.5}
