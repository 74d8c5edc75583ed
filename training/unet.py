"""Trains the diffusion model on cached latents: a UNet that predicts the noise in a picture's latents from its caption.

Noise schedules (linear: Ho et al. 2020; scaled_linear: Rombach et al. 2022; cosine: Nichol & Dhariwal 2021) and
epsilon or v-prediction are chosen by name. One caption in ten is dropped for classifier-free guidance (Ho & Salimans
2022). What is kept is an exponential moving average of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch.nn import functional
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from training.budget import Budget
from training.checkpoint import Checkpoint
from training.dataset import PaintedPictures

TRAIN_STEPS = 1000  # of the noise schedule
DROP_CAPTION = 0.1
EMA_DECAY = 0.999
SCHEDULES: dict[str, dict[str, str | float]] = {  # name on the command line -> diffusers' settings
    "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


@dataclass(frozen=True)
class Latents:
    """A cached training set: scaled latents and the caption embeddings, by picture."""

    latents: torch.Tensor  # (n, 4, 16, 16) float16
    tokens: torch.Tensor  # (n, 77) int64
    empty: torch.Tensor  # (77,) int64, the tokens of ""


def make_unet(cross_attention_dim: int) -> UNet2DConditionModel:
    """An untrained UNet of 4.8 M parameters: convolutions at 16 x 16, attention at 8 x 8 and 4 x 4."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 96, 112),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=(1, 3, 4),  # diffusers reads this as heads for Stable Diffusion's UNets
        norm_num_groups=8,
    )


def make_noise_schedule(schedule: str, prediction_type: str) -> DDPMScheduler:
    """The forward process that training uses and every sampler inherits."""
    return DDPMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        prediction_type=prediction_type,
        clip_sample=False,
        **SCHEDULES[schedule],
    )


@torch.no_grad()
def cache_latents(
    vae: AutoencoderKL, scale: float, *, tokenizer: CLIPTokenizer, pictures: PaintedPictures, count: int, file: Path
) -> Latents:
    """Encode `count` pictures once; a later call reads the file."""
    if file.is_file():
        return Latents(**torch.load(file, weights_only=True))
    chunks, tokens = [], []
    for start in tqdm(range(0, count, 50), desc="latents", mininterval=10):
        pixels, captions = pictures.batch(start, min(50, count - start))
        chunks.append((vae.encode(pixels).latent_dist.mode() * scale).half())
        tokens.append(_tokens(tokenizer, captions))
    cached = Latents(torch.cat(chunks), torch.cat(tokens), _tokens(tokenizer, [""])[0])
    torch.save(vars(cached), file)
    return cached


def _tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    padded = tokenizer(captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    tokens: torch.Tensor = padded.input_ids  # (n, 77)
    return tokens


def train_unet(
    data: Latents,
    text_encoder: CLIPTextModel,
    noise: DDPMScheduler,
    budget: Budget,
    checkpoint: Checkpoint,
    *,
    batch: int = 32,
    seed: int = 0,
) -> UNet2DConditionModel:
    """Train, or go on training, within the budget; the averaged weights are returned and checkpointed."""
    unet = make_unet(text_encoder.config.hidden_size).to(memory_format=torch.channels_last)
    checkpoint.load(unet)
    words, empty = _embed(text_encoder, data)
    average = make_unet(text_encoder.config.hidden_size).requires_grad_(requires_grad=False)
    average.load_state_dict(unet.state_dict())
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(seed + round(1e6 * budget.done))
    smooth = 0.0
    for step, bar in enumerate(budget.run("unet", optimizer, peak=8e-4)):
        loss = _loss(unet, (data.latents, words, empty), noise, batch, generator)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        _follow(average, unet, min(EMA_DECAY, (1 + step) / (20 + step)))
        smooth = loss.item() if not step else 0.99 * smooth + 0.01 * loss.item()
        bar.set_postfix(step=step, loss=f"{smooth:.4f}", refresh=False)
        if step % 200 == 199:
            checkpoint.save(average, share=budget.share)
    checkpoint.save(average, share=budget.share)
    return average


@torch.no_grad()
def _embed(text_encoder: CLIPTextModel, data: Latents) -> tuple[torch.Tensor, torch.Tensor]:
    """Caption embeddings, (n, 77, width) float16, and that of the empty caption."""
    chunks = [
        text_encoder(tokens).last_hidden_state.half() for tokens in tqdm(torch.split(data.tokens, 100), desc="captions")
    ]
    return torch.cat(chunks), text_encoder(data.empty[None]).last_hidden_state.half()[0]


def _loss(
    unet: UNet2DConditionModel,
    data: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    noise: DDPMScheduler,
    batch: int,
    generator: torch.Generator,
) -> torch.Tensor:
    all_latents, all_words, empty = data
    rows = torch.randint(len(all_latents), (batch,), generator=generator)
    latents = all_latents[rows].float()  # (batch, 4, 16, 16)
    words = all_words[rows].float()  # (batch, 77, width)
    words[torch.rand(batch, generator=generator) < DROP_CAPTION] = empty.float()
    timesteps = torch.randint(TRAIN_STEPS, (batch,), generator=generator)
    eps = torch.randn(latents.shape, generator=generator)
    noisy = noise.add_noise(latents, eps, timesteps)
    target = eps if noise.config.prediction_type == "epsilon" else noise.get_velocity(latents, eps, timesteps)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = unet(noisy.to(memory_format=torch.channels_last), timesteps, words).sample
    return functional.mse_loss(predicted.float(), target)


@torch.no_grad()
def _follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
