"""What a LoRA is trained with. Every choice that changes the weights is here, the pictures apart."""

from __future__ import annotations

from dataclasses import dataclass

UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclass(frozen=True)
class LoraSettings:
    """Numbers and names of one training."""

    rank: int = 8
    alpha: float = 8.0  # the trained change is multiplied by alpha / rank
    targets: tuple[str, ...] = UNET_TARGETS
    train_text: bool = False
    size: int = 512  # of the pictures, in pixels
    steps: int = 1000
    batch: int = 4
    rate: float = 1e-4  # learning rate at its highest
    text_rate: float = 5e-5
    warm_up: int = 20  # steps
    drop_caption: float = 0.1  # share of captions left out, for classifier-free guidance
    prior_weight: float = 1.0
    low_precision: bool = True  # bfloat16 where it is safe, by autocast
    seed: int = 0
