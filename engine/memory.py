"""Memory tiers: what a model gives up in speed to take less of the device's memory.

A tier is chosen by name in the catalogue, or by what is free. The loop itself decodes one image at a time, which is
what VAE slicing would do. Attention is PyTorch's scaled_dot_product_attention in every tier that does not slice it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from darkroom.logs import get_logger
from engine.offload import Offload
from engine.weights import bytes_in_memory, networks

log = get_logger(__name__)

AUTO = "auto"
HALVES = (torch.float16, torch.bfloat16)
SPARE = 0.9  # share of the free memory to count on; the rest is lost between blocks
# Feature maps of the widest kind that a VAE's decoder holds at once at full size, its upsampling included.
_VAE_MAPS = 3


@dataclass(frozen=True)
class MemoryTier:
    """What is done to a pipeline."""

    attention_slicing: bool = False  # half of the heads at a time: half of the score matrix, without SDPA's kernels
    vae_tiling: bool = False  # images larger than the VAE's own size are decoded in overlapping tiles: seams may differ
    offload: bool = False  # only the network at work is on the device


TIERS: Mapping[str, MemoryTier] = MappingProxyType(
    {
        "full": MemoryTier(),
        "slicing": MemoryTier(attention_slicing=True, vae_tiling=True),
        "offload": MemoryTier(attention_slicing=True, vae_tiling=True, offload=True),
    }
)


@dataclass(frozen=True)
class Need:
    """What a pipeline takes of the device's memory, in bytes, with one image in hand."""

    weights: int
    largest: int  # weights of its largest network
    activations: int  # of decoding one image of the VAE's own size, the largest single piece of work


def place(pipeline: Any, name: str, device: torch.device) -> str:
    """Bring a loaded pipeline to the device in the named tier, or in the one that fits; gives the tier's name.

    Raises:
        ValueError: when there is no such tier.
    """
    use_sdpa(pipeline)
    if pipeline.unet.dtype in HALVES:  # in float32 the plain layout adds up in the reference's order, bit for bit
        use_channels_last(pipeline)
    chosen = choose_tier(name, need_of(pipeline), free=free_bytes(device))
    tier = TIERS[chosen]
    if tier.attention_slicing:
        pipeline.unet.set_attention_slice("auto")
    if tier.vae_tiling:
        pipeline.vae.enable_tiling()
    if tier.offload:
        Offload(networks(pipeline), device=device).install()
    else:
        pipeline.to(device)
    return chosen


def choose_tier(name: str, need: Need, *, free: int | None) -> str:
    """The named tier; for "auto" the first whose need fits what is free, else the smallest.

    Args:
        free: bytes that the device has left; None where its memory is the host's, which no tier spares.
    """
    if name != AUTO:
        if name not in TIERS:
            raise ValueError(f"memory must be {AUTO}, {', '.join(TIERS)}; not {name}")
        return name
    if free is None:
        return "full"
    needs = {
        "full": need.weights + need.activations,
        "slicing": need.weights + need.activations // 2,
    }
    return next((tier for tier, bytes_ in needs.items() if bytes_ <= free * SPARE), "offload")


def need_of(pipeline: Any) -> Need:
    parts = networks(pipeline)
    sizes = [bytes_in_memory(part) for part in parts.values()]
    vae = pipeline.vae
    side = vae.config.sample_size
    width = vae.config.block_out_channels[min(1, len(vae.config.block_out_channels) - 1)]
    return Need(
        weights=sum(sizes),
        largest=max(sizes),
        activations=side * side * width * vae.dtype.itemsize * _VAE_MAPS,
    )


def free_bytes(device: torch.device) -> int | None:
    """What the device has left; None where its memory is the host's."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0])


def use_sdpa(pipeline: Any) -> None:
    """See that every attention runs on scaled_dot_product_attention, whatever the libraries' defaults are."""
    parts: dict[str, Any] = {**networks(pipeline)}
    for name, network in parts.items():
        if hasattr(network, "set_attn_processor"):
            network.set_attn_processor(AttnProcessor2_0())
        elif network.config._attn_implementation != "sdpa":  # noqa: SLF001 - transformers has no public way to ask
            network.set_attn_implementation("sdpa")
        assert uses_sdpa(network), f"{name} does not run on SDPA"


def use_channels_last(pipeline: Any) -> None:
    """Lay convolutions' weights out as their kernels want them; bench/memory_format.md has what that gains."""
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)


def uses_sdpa(network: Any) -> bool:
    if hasattr(network, "attn_processors"):
        return all(isinstance(processor, AttnProcessor2_0) for processor in network.attn_processors.values())
    return bool(network.config._attn_implementation == "sdpa")  # noqa: SLF001 - as above
