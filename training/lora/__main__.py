"""`python -m training.lora`: trains a LoRA from a folder of captioned pictures, or from painted ones in a style."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from darkroom.errors import ConfigurationError
from training.lora.export import FORMS, Card
from training.lora.pictures import Pictures, StyledPictures, open_folder
from training.lora.run import Plan, train_lora
from training.lora.settings import UNET_TARGETS, LoraSettings
from training.styles import PAINTERS

DEFAULTS = LoraSettings()


def main() -> None:
    """Read the command line and train; what is wrong with it is said in one sentence."""
    arguments = _parser().parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        files = train_lora(_plan(arguments))
    except ConfigurationError as error:
        sys.exit(str(error))
    for file in files:
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def _plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        model=arguments.model,
        pictures=_pictures(arguments),
        prior=open_folder(arguments.prior) if arguments.prior else None,
        card=Card(arguments.name, arguments.model.resolve().name, arguments.licence, arguments.trigger),
        settings=LoraSettings(
            rank=arguments.rank,
            alpha=arguments.rank if arguments.alpha is None else arguments.alpha,
            targets=tuple(arguments.targets),
            train_text=arguments.train_text_encoder,
            size=arguments.size or _native_size(arguments.model),
            steps=arguments.steps,
            batch=arguments.batch,
            rate=arguments.rate,
            text_rate=arguments.text_rate,
            drop_caption=arguments.drop_caption,
            prior_weight=arguments.prior_weight,
            low_precision=not arguments.full_precision,
            seed=arguments.seed,
        ),
        out=arguments.out,
        work=arguments.work,
        forms=arguments.formats,
        save_every=arguments.save_every,
        validate_every=arguments.validate_every,
        prompts=arguments.prompts,
        device=arguments.device,
        checkpointing=arguments.gradient_checkpointing,
    )


def _pictures(arguments: argparse.Namespace) -> Pictures:
    if arguments.style:
        return StyledPictures(arguments.style, arguments.count, arguments.seed)
    return open_folder(arguments.images, trigger=arguments.trigger)


def _native_size(model: Path) -> int:
    """The side of the model's own pictures, read from its configs."""
    try:
        unet = json.loads((model / "unet" / "config.json").read_text(encoding="utf-8"))
        vae = json.loads((model / "vae" / "config.json").read_text(encoding="utf-8"))
        return int(unet["sample_size"]) << (len(vae["block_out_channels"]) - 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{model} does not say how large its pictures are; give --size") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.lora", description="Train a LoRA; run the same command again to go on after a cut."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="folder of pictures with .txt captions, or with metadata.jsonl")
    source.add_argument("--style", choices=tuple(PAINTERS), help="painted pictures in this style instead")
    parser.add_argument("--count", type=int, default=1500, help="how many painted pictures")
    parser.add_argument("--model", type=Path, default=Path("models/darkroom-tiny"), help="a folder, diffusers' format")
    parser.add_argument("--name", required=True, help="of the LoRA and its files")
    parser.add_argument("--out", type=Path, default=Path("loras"), help="where the files go")
    parser.add_argument("--work", type=Path, default=Path(".training/lora"), help="progress and validation pictures")
    parser.add_argument("--formats", nargs="+", choices=tuple(FORMS), default=["diffusers"])
    parser.add_argument("--trigger", default="", help="words put before every caption of --images")
    parser.add_argument("--licence", default="unknown", help="written into the files' headers")
    parser.add_argument("--prior", type=Path, help="folder of prior pictures, which keep what the model knew")
    parser.add_argument("--prior-weight", type=float, default=DEFAULTS.prior_weight)
    parser.add_argument("--rank", type=int, default=DEFAULTS.rank)
    parser.add_argument("--alpha", type=float, help="the rank if left out")
    parser.add_argument("--targets", nargs="+", default=list(UNET_TARGETS), help="names of the UNet's layers")
    parser.add_argument("--train-text-encoder", action="store_true")
    parser.add_argument("--size", type=int, help="side of the pictures in pixels; the model's own if left out")
    parser.add_argument("--steps", type=int, default=DEFAULTS.steps)
    parser.add_argument("--batch", type=int, default=DEFAULTS.batch)
    parser.add_argument("--rate", type=float, default=DEFAULTS.rate, help="highest learning rate")
    parser.add_argument("--text-rate", type=float, default=DEFAULTS.text_rate)
    parser.add_argument("--drop-caption", type=float, default=DEFAULTS.drop_caption)
    parser.add_argument("--full-precision", action="store_true", help="no bfloat16")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory for more time")
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed)
    parser.add_argument("--save-every", type=int, default=100, metavar="STEPS")
    parser.add_argument("--validate-every", type=int, default=0, metavar="STEPS")
    parser.add_argument("--prompts", nargs="+", default=[], help="for the validation pictures")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    return parser


if __name__ == "__main__":
    main()
