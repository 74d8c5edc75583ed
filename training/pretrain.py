"""Trains darkroom-tiny from scratch, in one command: `python -m training.pretrain`.

Stages: tokenizer and CLIP pair, autoencoder, its decoder alone, cached latents and UNet, export. Each saves its
weights in the work folder and goes on from there when it was cut off; a finished stage is skipped. Seeds are fixed; on
another machine a budget in minutes buys another number of steps, so weights differ while the method does not.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import CLIPModel, CLIPTokenizer

from training.budget import Budget
from training.checkpoint import Checkpoint
from training.clip import make_clip, train_clip
from training.dataset import PaintedPictures
from training.export import export_clip, export_pipeline, import_checkpoints, text_encoder_of
from training.tokenizer import make_tokenizer
from training.unet import SCHEDULES, Latents, cache_latents, make_noise_schedule, make_unet, train_unet
from training.vae import make_vae, measure_latent_scale, measure_psnr, refine_decoder, train_vae

STAGES = ("clip", "vae", "decoder", "unet", "export")


@dataclass(frozen=True)
class Plan:
    """What to train, with which budgets, and where to put it."""

    work: Path  # checkpoints and caches
    out: Path  # models/ gets darkroom-tiny and darkroom-tiny-clip
    minutes: dict[str, float]  # by stage
    pictures: int  # cached latents
    schedule: str
    prediction_type: str
    seed: int

    @property
    def painted(self) -> PaintedPictures:
        return PaintedPictures(self.seed)

    def checkpoint(self, stage: str) -> Checkpoint:
        return Checkpoint(self.work, stage)

    def budget(self, stage: str) -> Budget:
        return Budget(minutes=self.minutes[stage], done=self.checkpoint(stage).share())


def pretrain(plan: Plan, stages: tuple[str, ...] = STAGES) -> None:
    """Run the stages in order; those left out are taken as their checkpoints stand."""
    tokenizer = _tokenizer(plan)
    clip = _clip(plan, tokenizer, train="clip" in stages)
    vae = _vae(plan, stages)
    noise = make_noise_schedule(plan.schedule, plan.prediction_type)
    encoder = text_encoder_of(clip)
    scale = measure_latent_scale(vae, plan.painted)
    if "unet" in stages:
        data = _latents(plan, tokenizer, vae, scale)
        train_unet(data, encoder, noise, plan.budget("unet"), plan.checkpoint("unet"), seed=plan.seed)
    if "export" in stages:
        unet = make_unet(encoder.config.hidden_size)
        plan.checkpoint("unet").load(unet)
        folder = plan.out / "darkroom-tiny"
        export_pipeline(folder, tokenizer=tokenizer, clip=clip, vae=vae, scale=scale, unet=unet, noise=noise)
        export_clip(plan.out / "darkroom-tiny-clip", tokenizer=tokenizer, clip=clip)


def _tokenizer(plan: Plan) -> CLIPTokenizer:
    folder = plan.work / "tokenizer"
    if (folder / "tokenizer.json").is_file():
        return CLIPTokenizer.from_pretrained(folder)
    return make_tokenizer(plan.painted, folder)


def _clip(plan: Plan, tokenizer: CLIPTokenizer, *, train: bool) -> CLIPModel:
    if train:
        train_clip(tokenizer, plan.painted, plan.budget("clip"), plan.checkpoint("clip"))
    clip = make_clip(tokenizer)
    plan.checkpoint("clip").load(clip)
    return clip.eval()


def _vae(plan: Plan, stages: tuple[str, ...]) -> AutoencoderKL:
    if "vae" in stages:
        train_vae(plan.painted, plan.budget("vae"), plan.checkpoint("vae"))
    vae = make_vae()
    plan.checkpoint("vae").load(vae)
    if "decoder" in stages:
        refine_decoder(vae, plan.painted, plan.budget("decoder"), plan.checkpoint("decoder"))
        print(f"vae: {measure_psnr(vae.eval(), plan.painted):.1f} dB on whole pictures")
    plan.checkpoint("decoder").load(vae)
    return vae.eval()


def _latents(plan: Plan, tokenizer: CLIPTokenizer, vae: AutoencoderKL, scale: float) -> Latents:
    return cache_latents(
        vae, scale, tokenizer=tokenizer, pictures=plan.painted, count=plan.pictures, file=plan.work / "latents.pt"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train darkroom-tiny from scratch; run again to go on.")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="checkpoints and caches")
    parser.add_argument("--out", type=Path, default=Path("models"), help="where the trained models go")
    parser.add_argument("--start-from", type=Path, help="a folder with exported models whose UNet is to learn more")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--clip-minutes", type=float, default=24)
    parser.add_argument("--vae-minutes", type=float, default=25)
    parser.add_argument("--decoder-minutes", type=float, default=10)
    parser.add_argument("--unet-minutes", type=float, default=70)
    parser.add_argument("--pictures", type=int, default=36_000, help="pictures whose latents the UNet learns from")
    parser.add_argument("--schedule", choices=tuple(SCHEDULES), default="linear")
    parser.add_argument("--prediction", choices=("epsilon", "v_prediction"), default="v_prediction")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="seconds of everything: shows that it runs")
    return parser.parse_args()


def main() -> None:
    """Read the command line and train."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    minutes = {"clip": arguments.clip_minutes, "vae": arguments.vae_minutes}
    minutes |= {"decoder": arguments.decoder_minutes, "unet": arguments.unet_minutes}
    plan = Plan(
        work=arguments.work,
        out=arguments.out,
        minutes=dict.fromkeys(minutes, 0.1) if arguments.quick else minutes,
        pictures=200 if arguments.quick else arguments.pictures,
        schedule=arguments.schedule,
        prediction_type=arguments.prediction,
        seed=arguments.seed,
    )
    if arguments.start_from is not None and not plan.checkpoint("unet").exists():
        import_checkpoints(arguments.start_from, arguments.work)
    pretrain(plan, tuple(arguments.stages))


if __name__ == "__main__":
    main()
