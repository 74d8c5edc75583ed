"""What the image checks cost the engine: images a minute with and without them, in interleaved rounds.

As in a worker, each job's own thread asks the engine for an image, has it judged, then takes the next job; the check
thread judges what waits in one go. The check embeds each image with the shipped CLIP, as those of the output stage do.

    python -m bench.safety.output_stage       # writes bench/safety/output_stage.md and .json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPModel

from bench.engine.jobs import equal_burst
from bench.engine.reporting import machine, spread
from bench.engine.servers.darkroom_engine import image_request
from darkroom.metrics import Metrics
from engine import Engine, PipelineSpec
from safety.pipeline import ImageSubject, SafetyPipeline
from safety.policy import load_policy
from safety.verdict import Category, Finding, Stage
from training.clip import clip_pixels
from worker.image_checks import ImageChecks

ROOT = Path(__file__).parents[2]
MODEL, CLIP = ROOT / "models" / "darkroom-tiny", ROOT / "models" / "darkroom-tiny-clip"
JOBS_AT_ONCE = 8

PAGE = """\
# What the output stage costs the engine

Model {model}, {images} images of 25 steps a round, {jobs} jobs at once, {threads} PyTorch thread(s) of a machine with
{cores} cores (load {load} before); torch {torch}, {date}. {rounds} interleaved rounds.

| checks | images a minute (median) | against none, median of the rounds' ratios | range |
|---|---|---|---|
{rows}

The checks' own work was {each_ms:.1f} ms an image, {batch:.1f} images a go on average. On a CPU checks and engine share
the cores, so what the checks compute is taken from the engine; beside a CUDA device they would run on cores that the
engine does not use. That was not measured here, for want of such a device.
Made by `python -m bench.safety.output_stage`; every round's figures are in `output_stage.json`.
"""


@dataclass
class Embedding:
    """A check that embeds images with CLIP, and finds nothing."""

    clip: Any
    name: str = "image_embedding"
    stage: Stage = Stage.IMAGE
    seconds: float = 0.0
    batches: list[int] = field(default_factory=list)

    def run(self, subject: ImageSubject) -> list[Finding]:
        return self.run_batch([subject])[0]

    @torch.inference_mode()
    def run_batch(self, subjects: Sequence[ImageSubject]) -> list[list[Finding]]:
        began = time.perf_counter()
        pixels = torch.from_numpy(np.stack([subject.pixels for subject in subjects])).permute(0, 3, 1, 2)
        vectors = self.clip.get_image_features(pixel_values=clip_pixels(pixels.float() / 127.5 - 1))
        assert len(vectors.pooler_output) == len(subjects)
        self.seconds += time.perf_counter() - began
        self.batches.append(len(subjects))
        return [[Finding(Category.custom, 0.0, self.name)] for _ in subjects]


def make_all(engine: Engine, checks: ImageChecks | None, count: int) -> float:
    """Images a minute."""

    def one(index: int) -> None:
        image = engine.submit("model", wanted[index]).future.result()
        if checks is not None:
            checks.judge([image])

    wanted = [image_request(job) for job in equal_burst(count)]
    began = time.perf_counter()
    with ThreadPoolExecutor(JOBS_AT_ONCE) as jobs:
        list(jobs.map(one, range(count)))
    return 60 * count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=24, help="of each round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    check = Embedding(CLIPModel.from_pretrained(CLIP).eval())
    pipeline = SafetyPipeline(policy=load_policy("default"), image_checks=[check])
    checks = ImageChecks(pipeline, metrics=Metrics())
    rates: dict[str, list[float]] = {"none": [], "on the check thread": []}
    with Engine({"model": PipelineSpec("model", str(MODEL))}, device="cpu", max_rows=2 * JOBS_AT_ONCE) as engine:
        engine.load("model")
        make_all(engine, checks, JOBS_AT_ONCE)
        check.seconds, check.batches = 0.0, []
        for _ in range(options.rounds):
            rates["none"].append(make_all(engine, None, options.images))
            rates["on the check thread"].append(make_all(engine, checks, options.images))
    checks.close()

    judged = sum(check.batches)
    about = {
        **machine(),
        "model": MODEL.name,
        "images": options.images,
        "jobs": JOBS_AT_ONCE,
        "rounds": options.rounds,
        "threads": options.threads,
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "each_ms": 1000 * check.seconds / judged,
        "batch": judged / len(check.batches),
    }
    rows = []
    for name, each in rates.items():
        median, extremes = spread([rate / other for rate, other in zip(each, rates["none"], strict=True)])
        rows.append(f"| {name} | {statistics.median(each):.1f} | {median} | {extremes} |")
    options.out.write_text(json.dumps({**about, "rates": rates}, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(PAGE.format(**about, rows="\n".join(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
