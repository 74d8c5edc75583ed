"""Thousands of small jobs with more adapters than slots: memory must stay flat.

Jobs of every kind, some cancelled, some with a broken callback, go through one engine in blocks; after each block it is
idle, and its process is measured: resident memory, and the tensors that are alive. The tiny random pipeline is used, so
that what a job leaves behind is large against what it needs.

    python -m bench.engine.soak        # writes bench/engine/soak.md
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import structlog
import torch

from bench.image_parity import half_mask
from darkroom.schedulers import SCHEDULERS
from engine import AdapterFile, AdapterUse, Engine, GeneratedImage, ImageRequest, PipelineSpec
from engine.loader import FAMILIES
from tests.engine.lora.files import in_kohya_names, random_lora, save_lora
from tests.engine.tiny import save_tiny_pipeline

MODEL = "tiny"
ADAPTERS, SLOTS = 8, 3
IN_FLIGHT = 8
SIDE = 64
PROMPTS = tuple(
    f"a {colour} {shape}" for colour in ("red", "(blue:1.3)", "[grey]") for shape in ("circle", "star " * 40)
)
PICTURE = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
CANCELLED, BROKEN = 0.1, 0.05  # shares of the jobs

PAGE = """\
# Soak

{jobs} small jobs on the tiny random pipeline in one process: every sampler, guided and not, from text, from an image
and into an image, with 0 to 2 of {adapters} adapters in {slots} slots, {in_flight} in flight. One in ten is cancelled,
one in twenty has a callback that raises. Adapters were read from their files {loads} times. After each block of {block}
jobs the engine is idle and measured.

| jobs | resident memory, MiB | tensors alive | steps |
|---|---|---|---|
{rows}

From the first quarter on, resident memory grows by **{slope:.2f} MiB a thousand jobs**; tensors alive: {least} to
{most}. {outcomes}. {seconds:.0f} s, torch {torch}, {machine}, {threads} thread(s).
Made by `python -m bench.engine.soak`.
"""


@dataclass(frozen=True)
class Mark:
    """What an idle engine's process holds after so many jobs."""

    jobs: int
    resident: int  # bytes
    tensors: int
    steps: int


class Soak:
    """Drives one engine, and counts how its jobs end."""

    def __init__(self, engine: Engine, *, seed: int = 0) -> None:
        self._engine = engine
        self._draw = random.Random(seed)
        self.done = 0
        self.outcomes: dict[str, int] = {}

    def marks(self, jobs: int, *, block: int) -> Iterator[Mark]:
        """Make the jobs; a mark after each block."""
        while self.done < jobs:
            self._make(min(block, jobs - self.done))
            gc.collect()
            yield Mark(self.done, resident_bytes(), live_tensors(), self._engine.stats().steps)

    def _make(self, jobs: int) -> None:
        running: set[Future[GeneratedImage]] = set()
        for _ in range(jobs):
            if len(running) >= IN_FLIGHT:
                running = self._count(*wait(running, return_when=FIRST_COMPLETED))
            running.add(self._submit())
        self._count(*wait(running))

    def _submit(self) -> Future[GeneratedImage]:
        fate = self._draw.random()
        handle = self._engine.submit(MODEL, self._request(), on_step=_raise if fate < BROKEN else _ignore)
        if fate > 1 - CANCELLED:
            handle.cancel()
        return handle.future

    def _count(
        self, done: set[Future[GeneratedImage]], running: set[Future[GeneratedImage]]
    ) -> set[Future[GeneratedImage]]:
        for future in done:
            error = future.exception()
            outcome = "succeeded" if error is None else getattr(error, "code", type(error).__name__)
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.done += len(done)
        return running

    def _request(self) -> ImageRequest:
        draw = self._draw
        images: Mapping[str, Any] = draw.choice(
            ({}, {}, {"init_image": PICTURE}, {"init_image": PICTURE, "mask_image": half_mask(SIDE, SIDE)})
        )
        names = draw.sample(range(ADAPTERS), draw.choice((0, 1, 1, 2)))
        return ImageRequest(
            prompt=draw.choice(PROMPTS),
            negative_prompt=draw.choice(("", "blurry")),
            width=SIDE,
            height=SIDE,
            num_inference_steps=draw.randint(2, 4),
            guidance_scale=draw.choice((1.0, 5.0)),
            scheduler=draw.choice(list(SCHEDULERS)),
            seed=draw.randrange(2**31),
            adapters=tuple(AdapterUse(f"a{name}", draw.choice((0.5, 1.0))) for name in names),
            **images,
        )


def _ignore(*_told: object) -> None: ...


def _raise(*_progress: int) -> None:
    raise ConnectionError("nobody listens")


def resident_bytes() -> int:
    """Of this process, on Linux."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def live_tensors() -> int:
    return sum(
        issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()
    )  # isinstance() would wake lazy modules


def growth(marks: Sequence[Mark]) -> float:
    """Bytes a job, by the straight line through the marks after the first quarter."""
    settled = [mark for mark in marks if mark.jobs > marks[-1].jobs // 4]
    return statistics.linear_regression([mark.jobs for mark in settled], [mark.resident for mark in settled]).slope


def soaked_engine(folder: Path) -> Engine:
    """An engine on the tiny pipeline, with more adapters than slots."""
    spec = PipelineSpec(MODEL, str(save_tiny_pipeline(folder / "model")))
    family = FAMILIES["sd"](spec, torch.device("cpu"), torch.float32)
    return Engine(
        {MODEL: spec},
        device="cpu",
        dtype="float32",
        adapters=adapter_files(family.pipeline, folder),
        adapter_slots=SLOTS,
    )


def adapter_files(pipeline: Any, folder: Path) -> dict[str, AdapterFile]:
    """As large as the whole UNet, so that one that stays behind shows."""
    return {
        f"a{seed}": save_lora(
            folder / f"a{seed}.safetensors",
            in_kohya_names(random_lora({"unet": pipeline.unet}, layers=("",), seed=seed, rank=16, size=0.1)),
            model=MODEL,
        )
        for seed in range(ADAPTERS)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--block", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()

    diffusers.utils.logging.set_verbosity_error()
    loads = Counted("adapter_loaded")
    structlog.configure(processors=[loads])
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, soaked_engine(Path(folder)) as engine:
        engine.load(MODEL)
        soak = Soak(engine)
        marks = []
        for mark in soak.marks(options.jobs, block=options.block):
            marks.append(mark)
            print(mark, flush=True)
    seconds = time.monotonic() - started
    options.out.write_text(_page(marks, soak.outcomes, loads.count, options.block, seconds), encoding="utf-8")


class Counted:
    """A log that counts one event and keeps nothing."""

    def __init__(self, event: str) -> None:
        self._event = event
        self.count = 0

    def __call__(self, _logger: object, _method: str, event: Mapping[str, Any]) -> Any:
        self.count += event["event"] == self._event
        raise structlog.DropEvent


def _page(marks: Sequence[Mark], outcomes: Mapping[str, int], loads: int, block: int, seconds: float) -> str:
    settled = [mark.tensors for mark in marks if mark.jobs > marks[-1].jobs // 4]
    return PAGE.format(
        jobs=marks[-1].jobs,
        adapters=ADAPTERS,
        slots=SLOTS,
        in_flight=IN_FLIGHT,
        loads=loads,
        block=block,
        rows="\n".join(
            f"| {mark.jobs} | {mark.resident / (1 << 20):.1f} | {mark.tensors} | {mark.steps} |" for mark in marks
        ),
        slope=1000 * growth(marks) / (1 << 20),
        least=min(settled),
        most=max(settled),
        outcomes=", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())),
        seconds=seconds,
        torch=torch.__version__,
        machine=platform.machine(),
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
