"""A sample: one image being made, from its request to its settled future.

Request, state and result are apart: `ImageRequest` never changes, `Sample` is the engine's own bookkeeping (its tensors
are in `Denoising`), `GeneratedImage` is what leaves. Knows nothing of batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

import numpy as np
import torch

from engine.decode import Decoding
from engine.denoising import Denoising, Unfinished
from engine.guidance import GUIDED_ROWS, SAFE_ROWS, Guidance
from engine.safe_guidance import SafeGuidance

OnStep = Callable[[int, int], None]  # (steps done, steps in all), on the device thread
OnPreview = Callable[[int, np.ndarray], None]  # (steps done, (h, w, 3) uint8, small), on the device thread
GroupKey = tuple[str, Hashable]  # (model, what its family says must be equal): samples of one key share a forward


@dataclass(frozen=True)
class AdapterUse:
    """One LoRA in one image."""

    name: str
    scale: float = 1.0


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
    guidance_rescale: float = 0.0
    guidance_stop: float = 1.0  # share of the steps after which it goes on unguided; below 1 the image is approximate
    adapters: tuple[AdapterUse, ...] = ()
    init_image: np.ndarray | None = field(default=None, compare=False, repr=False)  # (h, w, 3) uint8, any size
    mask_image: np.ndarray | None = field(default=None, compare=False, repr=False)  # (h, w) uint8, 255 is repainted
    strength: float = 0.8  # share of the steps that an init image goes through
    mask_blur: int = 0  # pixels
    mask_padding: int | None = (
        None  # pixels round the mask's box that is cropped, repainted and put back; None: no crop
    )
    preview_every: int = 0  # steps; 0 is never
    refiner: str | None = None  # name of the model that finishes the image
    refiner_start: float = 0.8  # share of the noise schedule at which it takes over
    safe_guidance: SafeGuidance | None = None  # three rows instead of two, or one

    @property
    def guidance(self) -> Guidance:
        return Guidance(self.guidance_scale, self.guidance_rescale, self.guidance_stop)

    @property
    def most_rows(self) -> int:
        """What it may take of one forward; only its model's family knows whether it does."""
        return GUIDED_ROWS if self.safe_guidance is None else SAFE_ROWS


@dataclass(frozen=True)
class GeneratedImage:
    """One finished image and what it cost."""

    pixels: np.ndarray  # (height, width, 3) uint8
    steps: int
    run_seconds: float  # from the first row to the pixels
    rows_mean: float  # rows in the forwards that it took part in, on average
    device_seconds: float = 0.0  # its share, by rows, of the forwards; and what was done for it alone
    latents: torch.Tensor | None = None  # (1, 4, height/8, width/8), where the engine keeps latents


class SampleState(Enum):
    WAITING = "waiting"  # submitted, or handed over to its refiner; holds no rows
    RUNNING = "running"  # in a group, denoised step by step
    DENOISED = "denoised"  # all steps done, rows given back; waits for its turn at the VAE
    RETIRED = "retired"  # its future is settled


TRANSITIONS: Mapping[SampleState, frozenset[SampleState]] = MappingProxyType(
    {
        SampleState.WAITING: frozenset({SampleState.RUNNING, SampleState.RETIRED}),
        SampleState.RUNNING: frozenset({SampleState.WAITING, SampleState.DENOISED, SampleState.RETIRED}),
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
    on_preview: OnPreview | None = None
    future: Future[GeneratedImage] = field(default_factory=Future)
    submitted_at: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    state: SampleState = SampleState.WAITING
    group: GroupKey | None = None  # known once its model is loaded
    admitted_at: float = 0.0
    denoising: Denoising | None = None
    decoding: Decoding | None = None
    unfinished: Unfinished | None = None  # what its refiner goes on from
    forwards: int = 0
    rows_shared: int = 0  # summed over its forwards
    device_seconds: float = 0.0  # that it has taken so far

    def __post_init__(self) -> None:
        # A running future can't be cancelled behind the engine's back: that goes by the handle alone.
        self.future.set_running_or_notify_cancel()

    @property
    def models(self) -> tuple[str, ...]:
        """All that it needs in memory."""
        both = (self.model, self.request.refiner)  # one and the same, once it went over to its refiner
        return tuple(dict.fromkeys(model for model in both if model is not None))

    @property
    def adapters(self) -> tuple[AdapterUse, ...]:
        """Those of its present model: a refiner has none."""
        return () if self.unfinished is not None else self.request.adapters

    @property
    def to_be_refined(self) -> bool:
        return self.request.refiner is not None and self.unfinished is None

    def hand_over(self) -> None:
        """Go to the refiner, as one that waits for rows of its group."""
        assert self.request.refiner is not None, "only a request that names a refiner goes to one"
        self.unfinished = self.tensors.unfinished()
        self.model, self.group, self.denoising = self.request.refiner, None, None
        self.transition(SampleState.WAITING)

    @property
    def key(self) -> GroupKey:
        assert self.group is not None, "a sample has its group before its rows"
        return self.group

    @property
    def tensors(self) -> Denoising:
        assert self.denoising is not None, "an admitted sample has its tensors"
        return self.denoising

    def transition(self, state: SampleState) -> None:
        assert state in TRANSITIONS[self.state], f"a {self.state.value} sample can't become {state.value}"
        self.state = state

    def preview_due(self, steps_done: int) -> bool:
        every = self.request.preview_every
        return every > 0 and steps_done % every == 0

    def overdue(self, now: float) -> bool:
        return self.request.deadline is not None and now >= self.request.deadline

    def shared(self, rows: int) -> None:
        """Note one forward that it took part in."""
        self.forwards += 1
        self.rows_shared += rows

    def finished(self, pixels: np.ndarray, *, latents: torch.Tensor | None) -> GeneratedImage:
        return GeneratedImage(
            pixels=pixels,
            steps=self.tensors.num_inference_steps,
            run_seconds=time.monotonic() - self.admitted_at,
            rows_mean=self.rows_shared / self.forwards,
            device_seconds=self.device_seconds,
            latents=latents,
        )
