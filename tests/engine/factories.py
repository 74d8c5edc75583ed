"""What the engine's tests are made of: requests, networks that fail on purpose, an observer that remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from engine import Engine, EngineHandle, ImageRequest


def make_request(**changes: Any) -> ImageRequest:
    """A small guided image."""
    values: dict[str, Any] = {
        "prompt": "a red circle",
        "negative_prompt": "",
        "width": 64,
        "height": 64,
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "scheduler": "dpmpp_2m",
        "seed": 1,
    }
    return ImageRequest(**{**values, **changes})


def outcome(handle: EngineHandle) -> Any:
    """The image, or the error."""
    error = handle.future.exception(timeout=60)
    return error if error is not None else handle.future.result()


class Trap(torch.nn.Module):
    """A network in front of another that sees each input first, and may raise."""

    def __init__(self, inner: Any, spring: Callable[[Any], None]) -> None:
        super().__init__()
        self.inner = inner
        self.spring = spring

    @property
    def config(self) -> Any:
        return self.inner.config

    def forward(self, first: Any, *rest: Any, **named: Any) -> Any:
        self.spring(first)
        return self.inner(first, *rest, **named)


def set_trap(engine: Engine, part: str, spring: Callable[[Any], None]) -> None:
    """Put a trap before one network of the loaded model."""
    pipeline: Any = engine._family("tiny").pipeline
    pipeline.register_modules(**{part: Trap(getattr(pipeline, part), spring)})


@dataclass
class Notes:
    """Remembers what the engine told."""

    steps: list[tuple[int, int]] = field(default_factory=list)  # (rows, samples)
    waits: list[float] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    lookups: list[bool] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    caps: list[tuple[str, str, int]] = field(default_factory=list)  # (model, size, rows)
    device_seconds: float = 0.0

    def step(self, model: str, *, rows: int, seconds: float, samples: int) -> None:
        assert model == "tiny"
        assert seconds > 0
        self.steps.append((rows, samples))
        self.device_seconds += seconds

    def alone(self, model: str, *, seconds: float) -> None:
        assert model == "tiny"
        self.device_seconds += seconds

    def admitted(self, model: str, wait_seconds: float) -> None:
        assert model == "tiny"
        self.waits.append(wait_seconds)

    def retired(self, model: str, outcome: str) -> None:
        assert model == "tiny"
        self.outcomes.append(outcome)

    def embedding_cache(self, *, hit: bool) -> None:
        self.lookups.append(hit)

    def model_loaded(self, model: str, *, weights: int, tier: str) -> None:
        assert weights > 0
        self.models.append(f"+{model} {tier}")

    def model_evicted(self, model: str) -> None:
        self.models.append(f"-{model}")

    def row_cap(self, model: str, size: str, rows: int) -> None:
        self.caps.append((model, size, rows))
