"""Trains and lists the style LoRAs that ship with darkroom-tiny: `python -m training.style_loras`.

Each learns from painted pictures in its style whose captions do not name it: the LoRA alone gives the style, there is
no trigger word. Run again after a cut it goes on; after a change of the base model use `--anew`.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from training.lora.export import Card
from training.lora.pictures import StyledPictures
from training.lora.run import Plan, train_lora
from training.lora.settings import UNET_TARGETS, LoraSettings

BASE = "darkroom-tiny"
LICENCE = "Apache-2.0"
# A style is in textures and edges as much as in attention, so every layer of the UNet's blocks learns a little.
TARGETS = (*UNET_TARGETS, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
SETTINGS = LoraSettings(rank=4, alpha=4.0, targets=TARGETS, size=128, batch=16, rate=6e-3, seed=3)
PICTURES = 1500
# Pastel is only colour, which is learned soon; contours take three times as long.
STEPS: Mapping[str, int] = MappingProxyType({"outline": 2400, "pastel": 800, "neon": 2400})
DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "outline": "Contours in the object's colour; the inside shows the background.",
        "pastel": "Pale, soft colours.",
        "neon": "Glowing contours on a dark background.",
    }
)
VALIDATION = (
    "a red circle on a blue background",
    "a yellow star on a black background",
    "a green triangle on a white background",
    "a pink heart on a purple background",
    "a blue square above a red ring on a yellow background",
    "mountains and trees at sunset with the sun",
)
_ENTRY = """
[adapters.{name}]
description = "{description}"
model = "{model}"
file = "{file}"
sha256 = "{digest}"
licence = "{licence}"
"""


def list_adapter(catalogue: Path, name: str, file: Path) -> None:
    """Put the file's digest into the adapter's catalogue entry; make the entry where there is none."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    text = catalogue.read_text(encoding="utf-8")
    entry = re.compile(rf'(^\[adapters\.{re.escape(name)}\]\n(?:(?!\[).*\n)*?sha256 = ")[0-9a-f]{{64}}"', re.MULTILINE)
    listed, found = entry.subn(rf'\g<1>{digest}"', text)
    if not found:
        path = file.resolve().relative_to(catalogue.resolve().parent).as_posix()
        listed = (
            text.rstrip("\n")
            + "\n"
            + _ENTRY.format(
                name=name, description=DESCRIPTIONS[name], model=BASE, file=path, digest=digest, licence=LICENCE
            )
        )
    catalogue.write_text(listed, encoding="utf-8")


def main() -> None:
    """Train the styles that were asked for and list them."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    for name in arguments.styles:
        plan = Plan(
            model=arguments.model,
            pictures=StyledPictures(name, PICTURES, SETTINGS.seed),
            card=Card(name, BASE, LICENCE),
            settings=replace(SETTINGS, steps=STEPS[name]),
            out=arguments.out,
            work=arguments.work,
            validate_every=STEPS[name] // 4,
            prompts=VALIDATION,
        )
        if arguments.anew:
            plan.progress.file.unlink(missing_ok=True)
        (file,) = train_lora(plan)
        list_adapter(arguments.catalogue, name, file)
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the style LoRAs of the shipped model.")
    parser.add_argument("--styles", nargs="+", choices=tuple(DESCRIPTIONS), default=list(DESCRIPTIONS))
    parser.add_argument("--model", type=Path, default=Path("models") / BASE)
    parser.add_argument("--out", type=Path, default=Path("models") / f"{BASE}-loras")
    parser.add_argument("--work", type=Path, default=Path(".training/lora"))
    parser.add_argument("--catalogue", type=Path, default=Path("catalogue.toml"))
    parser.add_argument("--anew", action="store_true", help="forget what earlier runs had reached")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
