"""Trains the small CLIP pair on painted pictures (Radford et al. 2021): captions and pictures of the same scene meet.

The text side conditions the diffusion model; the vision side scores images. Pictures are seen at 64 px in 8 px patches.
Captions are padded only as far as a batch needs: attention is causal, so padding never reaches the end token.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from training.budget import Budget
from training.checkpoint import Checkpoint
from training.dataset import PaintedPictures

WIDTH = 128
IMAGE_SIZE = 64
# CLIPImageProcessor's usual statistics, so that any CLIP tool prepares pictures as this training did.
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


def make_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP pair that fits the tokenizer."""
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=8,
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH))


def clip_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (n, 3, h, w) in [-1, 1] as the vision side takes them, (n, 3, 64, 64) normalised."""
    small = functional.interpolate(pixels, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return ((small + 1) / 2 - mean) / std


def train_clip(
    tokenizer: CLIPTokenizer,
    pictures: PaintedPictures,
    budget: Budget,
    checkpoint: Checkpoint,
    *,
    batch: int = 96,
    text_locked: bool = False,
) -> CLIPModel:
    """Train, or go on training, the pair within its budget; with `text_locked` only the vision side learns."""
    clip = make_clip(tokenizer)
    checkpoint.load(clip)
    if text_locked:
        clip.text_model.requires_grad_(requires_grad=False)
        clip.text_projection.requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW([p for p in clip.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.05)
    start = round(1e7 * budget.done)
    for step, bar in enumerate(budget.run("clip", optimizer, peak=1e-3)):
        pixels, captions = pictures.batch(start + step * batch, batch)
        words = tokenizer(captions, padding=True, return_tensors="pt")
        output = clip(**words, pixel_values=clip_pixels(pixels))
        logits = output.logits_per_text
        loss = _matching_loss(logits, captions)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, 4.6052)  # at most x100, as in the paper
        hits = (logits.argmax(1) == torch.arange(batch)).float().mean()
        bar.set_postfix(loss=f"{loss.item():.3f}", top1=f"{hits.item():.2f}", refresh=False)
        if step % 100 == 99:
            checkpoint.save(clip, share=budget.share)
    checkpoint.save(clip, share=budget.share)
    return clip


def _matching_loss(logits: torch.Tensor, captions: list[str]) -> torch.Tensor:
    """Symmetric cross-entropy over the batch; equal captions share the target."""
    same = torch.tensor([[float(a == b) for b in captions] for a in captions])
    target = same / same.sum(1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
