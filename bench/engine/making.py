"""Makes jobs with diffusers' own pipeline: what the serving peers run behind their queues.

One pipeline, one call at a time. Jobs of equal settings may share a call; anything else needs a call of its own. LoRAs
are loaded once and chosen for each call, as diffusers offers it.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch

from bench.engine.jobs import Job
from engine.schedulers import make_scheduler


class PipelineMaker:
    """A loaded StableDiffusionPipeline and its LoRAs."""

    def __init__(self, model: Path, adapters: dict[str, Path]) -> None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(
            model, dtype=torch.float32, local_files_only=True, safety_checker=None, requires_safety_checker=False
        )
        pipeline.set_progress_bar_config(disable=True)
        for name, file in adapters.items():
            pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=name)
        if adapters:
            pipeline.disable_lora()
        self.pipeline = pipeline
        self._chosen: tuple[tuple[str, float], ...] = ()
        self._turn = threading.Lock()

    def make(self, jobs: Sequence[Job]) -> list[bytes]:
        """PNG files of jobs with equal settings, made in one call."""
        first = jobs[0]
        assert all(job.settings == first.settings for job in jobs), "one call takes one set of settings"
        with self._turn:
            self._choose(first.adapters)
            self.pipeline.scheduler = make_scheduler(
                first.scheduler, self.pipeline.scheduler.config, num_inference_steps=first.steps
            )
            images = self.pipeline(
                [job.prompt for job in jobs],
                num_inference_steps=first.steps,
                guidance_scale=first.guidance,
                generator=[torch.Generator("cpu").manual_seed(job.seed) for job in jobs],
            ).images
        return [png(image) for image in images]

    def make_all(self, jobs: Sequence[Job]) -> list[bytes]:
        """PNG files of any jobs, those of equal settings in one call."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for index, job in enumerate(jobs):
            groups.setdefault(job.settings, []).append(index)
        files: list[bytes] = [b""] * len(jobs)
        for indices in groups.values():
            for index, file in zip(indices, self.make([jobs[i] for i in indices]), strict=True):
                files[index] = file
        return files

    def _choose(self, adapters: tuple[tuple[str, float], ...]) -> None:
        if adapters == self._chosen:
            return
        if adapters:
            self.pipeline.enable_lora()
            self.pipeline.set_adapters([name for name, _ in adapters], [scale for _, scale in adapters])
        else:
            self.pipeline.disable_lora()
        self._chosen = adapters


def png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def adapters_from_environment() -> dict[str, Path]:
    """LoRA files by name, as `arms.py` hands them to a server: NAME=FILE, one a line."""
    lines = os.environ.get("BENCH_ADAPTERS", "").splitlines()
    return {name: Path(file) for name, file in (line.split("=", 1) for line in lines)}


def model_from_environment() -> Path:
    return Path(os.environ["BENCH_MODEL"])
