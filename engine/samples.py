"""A sample: one image being made, from its request to its settled future.

Request, state and result are apart: `ImageRequest` never changes, `Sample` is the engine's own bookkeeping (its tensors
are in `Denoising`), `GeneratedImage` is what leaves. Knows nothing of batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

import numpy as np
import torch

from engine.denoising import Denoising

OnStep = Callable[[int, int], None]  # (steps done, steps in all), on the device thread
GroupKey = tuple[str, int, int]  # (model, height, width): samples of one key share a forward


@dataclass(frozen=True)
class ImageRequest:
    """One image. A job with several images makes several requests, image i with seed + i."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str  # a public name of darkroom/schedulers.py
    seed: int
    deadline: float | None = None  # time.monotonic() seconds


@dataclass(frozen=True)
class GeneratedImage:
    """One finished image and what it cost."""

    pixels: np.ndarray  # (height, width, 3) uint8
    steps: int
    run_seconds: float  # from the first row to the pixels
    rows_mean: float  # rows in the forwards that it took part in, on average
    latents: torch.Tensor | None = None  # (1, 4, height/8, width/8), where the engine keeps latents


class SampleState(Enum):
    WAITING = "waiting"  # submitted; holds no rows
    RUNNING = "running"  # in a group, denoised step by step
    DENOISED = "denoised"  # all steps done, rows given back; waits for its turn at the VAE
    RETIRED = "retired"  # its future is settled


TRANSITIONS: Mapping[SampleState, frozenset[SampleState]] = MappingProxyType(
    {
        SampleState.WAITING: frozenset({SampleState.RUNNING, SampleState.RETIRED}),
        SampleState.RUNNING: frozenset({SampleState.DENOISED, SampleState.RETIRED}),
        SampleState.DENOISED: frozenset({SampleState.RETIRED}),
        SampleState.RETIRED: frozenset(),
    }
)


@dataclass(eq=False)
class Sample:
    """The engine's bookkeeping of one image. After birth only the device thread changes it, `cancelled` apart."""

    model: str
    request: ImageRequest
    on_step: OnStep | None = None
    future: Future[GeneratedImage] = field(default_factory=Future)
    submitted_at: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    state: SampleState = SampleState.WAITING
    admitted_at: float = 0.0
    denoising: Denoising | None = None
    forwards: int = 0
    rows_shared: int = 0  # summed over its forwards

    def __post_init__(self) -> None:
        # A running future can't be cancelled behind the engine's back: that goes by the handle alone.
        self.future.set_running_or_notify_cancel()

    @property
    def key(self) -> GroupKey:
        return (self.model, self.request.height, self.request.width)

    @property
    def tensors(self) -> Denoising:
        assert self.denoising is not None, "an admitted sample has its tensors"
        return self.denoising

    def transition(self, state: SampleState) -> None:
        assert state in TRANSITIONS[self.state], f"a {self.state.value} sample can't become {state.value}"
        self.state = state

    def overdue(self, now: float) -> bool:
        return self.request.deadline is not None and now >= self.request.deadline

    def shared(self, rows: int) -> None:
        """Note one forward that it took part in."""
        self.forwards += 1
        self.rows_shared += rows

    def finished(self, pixels: np.ndarray, *, latents: torch.Tensor | None) -> GeneratedImage:
        return GeneratedImage(
            pixels=pixels,
            steps=self.request.num_inference_steps,
            run_seconds=time.monotonic() - self.admitted_at,
            rows_mean=self.rows_shared / self.forwards,
            latents=latents,
        )
