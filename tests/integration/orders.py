"""Twenty orders that differ in everything a caller may choose, each asking for one plain thing that can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.captions import plain_prompt
from training.scenes import seen_combinations

COUNT = 20
_STEPS = {
    "dpmpp_2m": 25,
    "dpmpp_2m_karras": 20,
    "unipc": 20,
    "euler": 30,
    "euler_a": 30,
    "ddim": 30,
    "ddpm": 50,
    "pndm": 25,
}
_TIERS = ("standard", "preview", "quality")
_FORMATS = ("png", "png", "jpeg", "png", "webp")


@dataclass(frozen=True)
class Order:
    """One request, and what its first image must show."""

    body: dict[str, Any]
    colour: str
    background: str


def twenty_orders() -> list[Order]:
    """The same ones every time."""
    schedulers = list(_STEPS)
    orders = []
    for number, (shape, colour, background) in enumerate(seen_combinations()[:COUNT]):
        scheduler = schedulers[number % len(schedulers)]
        body = {
            "prompt": plain_prompt(shape, colour, background),
            "seed": 100 + number,
            "scheduler": scheduler,
            "num_inference_steps": _STEPS[scheduler],
            "tier": _TIERS[number % len(_TIERS)],
            "output_format": _FORMATS[number % len(_FORMATS)],
            "num_images": 2 if number % 7 == 0 else 1,
            "metadata": {"number": str(number)},
        }
        if number % 5 == 4:
            body["negative_prompt"] = "blurry"
        orders.append(Order(body, colour, background))
    return orders
