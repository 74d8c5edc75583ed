"""Trains the autoencoder: 128 x 128 x 3 pixels to 16 x 16 x 4 latents and back.

It learns on crops, which is cheap and enough because it is convolutional (no attention in its middle), then a last
quarter on whole pictures, where group norm sees what it will see in use. Loss: L1 + MSE + edges + a
little KL (Kingma & Welling 2013; Rombach et al. 2022).
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from training.budget import Budget
from training.checkpoint import Checkpoint
from training.dataset import PaintedPictures

KL_WEIGHT = 1e-6
WHOLE_FROM = 0.75  # share of the budget after which whole pictures are used
_CROP = 64


def make_vae() -> AutoencoderKL:
    """An untrained f8 autoencoder with 4 latent channels."""
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=128,
        block_out_channels=(16, 32, 64, 80),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        mid_block_add_attention=False,
    )
    with torch.no_grad():  # start with little posterior noise: at a variance of 1 it drowns the latents for long
        vae.quant_conv.bias[4:] = -5.0
        vae.quant_conv.weight[4:] *= 0.1
    return vae


def train_vae(pictures: PaintedPictures, budget: Budget, checkpoint: Checkpoint, *, batch: int = 16) -> AutoencoderKL:
    """Train, or go on training, the autoencoder within its budget."""
    vae = make_vae()
    checkpoint.load(vae)
    return _train(vae, pictures, budget, checkpoint, batch=batch, peak=1.5e-3, whole_from=WHOLE_FROM)


def refine_decoder(
    vae: AutoencoderKL, pictures: PaintedPictures, budget: Budget, checkpoint: Checkpoint, *, batch: int = 15
) -> AutoencoderKL:
    """Train the decoder alone on whole pictures; latents stay as they are, so a UNet trained on them still fits."""
    checkpoint.load(vae)
    vae.encoder.requires_grad_(requires_grad=False)
    vae.quant_conv.requires_grad_(requires_grad=False)
    return _train(vae, pictures, budget, checkpoint, batch=batch, peak=6e-4, whole_from=0.0)


def _train(
    vae: AutoencoderKL,
    pictures: PaintedPictures,
    budget: Budget,
    checkpoint: Checkpoint,
    *,
    batch: int,
    peak: float,
    whole_from: float,
) -> AutoencoderKL:
    vae.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([p for p in vae.parameters() if p.requires_grad], lr=peak, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(pictures.seed + round(1e6 * budget.done))
    start = round(1e7 * budget.done)
    for step, bar in enumerate(budget.run(checkpoint.stage, optimizer, peak=peak)):
        whole = budget.share >= whole_from
        count = batch // 3 if whole else batch
        pixels, _ = pictures.batch(start + step * batch, count)
        if not whole:
            pixels = _crop(pixels, generator)
        loss, error = _loss(vae, pixels.to(memory_format=torch.channels_last), generator)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(psnr=f"{float(-10 * torch.log10(error / 4)):.1f}", refresh=False)
        if step % 200 == 199:
            checkpoint.save(vae, share=budget.share)
    checkpoint.save(vae, share=budget.share)
    return vae


def _crop(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    top, left = (int(torch.randint(0, pixels.shape[-1] - _CROP + 1, (), generator=generator)) for _ in range(2))
    return pixels[:, :, top : top + _CROP, left : left + _CROP]


def _loss(vae: AutoencoderKL, pixels: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pixels).latent_dist
        output = vae.decode(posterior.sample(generator)).sample.float()
    error = functional.mse_loss(output, pixels)
    divergence = posterior.kl().float().mean()
    loss = functional.l1_loss(output, pixels) + error + _edge_loss(output, pixels) + KL_WEIGHT * divergence
    return loss, error.detach()


def _edge_loss(output: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """L1 between the differences of neighbouring pixels: keeps outlines sharp and flat areas flat."""
    wrong = output - pixels
    return wrong.diff(dim=-1).abs().mean() + wrong.diff(dim=-2).abs().mean()


@torch.no_grad()
def measure_psnr(vae: AutoencoderKL, pictures: PaintedPictures, *, count: int = 64) -> float:
    """Mean reconstruction PSNR in dB over whole pictures."""
    total = 0.0
    for index in range(count):
        pixels, _ = pictures.batch(10**9 + index, 1)
        output = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.clamp(-1, 1)
        total += float(-10 * torch.log10(functional.mse_loss(output, pixels) / 4))
    return total / count


@torch.no_grad()
def measure_latent_scale(vae: AutoencoderKL, pictures: PaintedPictures, *, count: int = 256) -> float:
    """The factor that brings latents to unit standard deviation."""
    latents = [vae.encode(pictures.batch(2 * 10**9 + i, 16)[0]).latent_dist.mode() for i in range(0, count, 16)]
    return float(1.0 / torch.cat(latents).std())
