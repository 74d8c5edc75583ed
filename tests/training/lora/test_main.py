"""The command: from a folder to files, again from where it was, and a sentence where something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]


def _lora(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.lora", "--name", "walls", "--threads", "1", "--size", "64"]
    command += ["--out", str(folder / "out"), "--work", str(folder / "work"), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
def test_one_command_trains_validates_and_exports(model: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(model), "--images", str(pictures), "--steps", "4", "--batch", "2"]
    arguments += ["--formats", "diffusers", "kohya", "--validate-every", "2", "--prompts", "plain red", "plain blue"]

    first = _lora(tmp_path, *arguments)
    assert first.returncode == 0, first.stderr[-2000:]
    weights = (tmp_path / "out" / "walls.safetensors").read_bytes()
    again = _lora(tmp_path, *arguments)  # a finished training is only exported again
    assert again.returncode == 0, again.stderr[-2000:]

    assert (tmp_path / "out" / "walls.kohya.safetensors").is_file()
    assert (tmp_path / "out" / "walls.safetensors").read_bytes() == weights
    strips = sorted((tmp_path / "work" / "walls.validation").iterdir())
    assert [strip.name for strip in strips] == ["000002.png", "000004.png"]
    with Image.open(strips[0]) as strip:
        assert strip.size == (128, 64)


@pytest.mark.slow
def test_a_bad_folder_ends_the_command_with_one_sentence(model: Path, tmp_path: Path) -> None:
    done = _lora(tmp_path, "--model", str(model), "--images", str(tmp_path / "nowhere"))

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("nowhere is not a folder")
    assert "Traceback" not in done.stderr
