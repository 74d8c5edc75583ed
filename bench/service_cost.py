"""What the service adds to one image: submit over HTTP and wait, against calling the pipeline in this process.

One job at a time, rounds interleaved (the order turns round each time), same model, scheduler, seed and number of
PyTorch threads on both sides; the figure is the median of the rounds' ratios. The reference is diffusers' pipeline
alone, without encoding a file. The service is `darkroom up`: its file carries the recipe, is stored, and the wait is
over when a waiting HTTP request is answered.

    python -m bench.service_cost models/darkroom-tiny      # writes bench/service_cost.md and .json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import diffusers
import httpx2
import numpy as np
import torch
from PIL import Image

from bench.service import service_up
from engine.schedulers import make_scheduler
from safety.provenance.encode import encode_image
from safety.provenance.recipe import Recipe

TARGET = 1.10
PROMPT = "a green circle on a white background"  # what the policy `stand-in` lets through
SCHEDULER = "dpmpp_2m"
WAIT_SECONDS = 60

SHIPPED = Path(__file__).parents[1] / "models"
#: What is done to an image beyond making and storing it, and the settings for that.
ARMS: Mapping[str, Mapping[str, str]] = {
    "off": {"DARKROOM_WATERMARK": "off", "DARKROOM_C2PA_CERT_FILE": "", "DARKROOM_C2PA_KEY_FILE": ""},
    "on": {
        "DARKROOM_POLICY": "stand-in",
        "DARKROOM_IMAGE_EMBEDDER": str(SHIPPED / "darkroom-tiny-clip"),
        "DARKROOM_CONCEPT_CHECKER": str(SHIPPED / "darkroom-tiny-checker"),
    },
}
MOST_OFF = {"off": 1, "on": 40}  # of 255: the invisible mark moves single pixels, most at sharp edges

TABLE = """\
# What the service costs

One image at a time: `POST /generate` and waiting for the job, against `StableDiffusionPipeline` called in the
measuring process. Model {model}, {size}x{size}, {steps} steps of {scheduler}, guidance {guidance:g}, {device};
{rounds} interleaved rounds, medians, with the range of the ratio. {machine}, {cores} cores, load {load} before and
{load_after} after; torch {torch}.

| marks and checks | threads | pipeline, s | service, s | ratio | range | queue wait, ms | run, ms | the rest, ms |
|---|---|---|---|---|---|---|---|---|
{rows}

Target: {target:.2f} or less with marks and checks off. Off: no invisible mark, no signed manifest, no image check; the
recipe in the file and the prompt's word lists stay. On: invisible mark, signed C2PA manifest, and the concept checker
of the policy `stand-in` on every image. Encoding a PNG with its recipe took {marked:.1f} ms, the bare PNG
{bare:.1f} ms. Threads are PyTorch's. Queue wait and run are the record's own times; the rest is HTTP.

Made by `python -m bench.service_cost models/{model}`.
"""


@dataclass(frozen=True)
class Job:
    """What both sides make."""

    folder: Path
    size: int
    steps: int
    guidance: float


@dataclass(frozen=True)
class Round:
    """Seconds of one round."""

    pipeline: float
    service: float
    queue_wait: float
    run: float

    @property
    def ratio(self) -> float:
        return self.service / self.pipeline


class Reference:
    """diffusers' pipeline in this process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            job.folder, dtype=torch.float32, local_files_only=True
        )
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = make_scheduler(SCHEDULER, pipeline.scheduler.config, num_inference_steps=job.steps)
        self._pipeline: Any = pipeline.to(_device())

    def make(self, seed: int) -> Image.Image:
        image: Image.Image = self._pipeline(
            PROMPT,
            width=self._job.size,
            height=self._job.size,
            num_inference_steps=self._job.steps,
            guidance_scale=self._job.guidance,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        return image


class Service:
    """A caller of the running service."""

    def __init__(self, url: str, api_key: str, job: Job) -> None:
        self._job = job
        self.http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=WAIT_SECONDS + 30
        )

    def make(self, seed: int) -> dict[str, Any]:
        """Submit and wait; the ended job."""
        body = {
            "prompt": PROMPT,
            "seed": seed,
            "scheduler": SCHEDULER,
            "num_inference_steps": self._job.steps,
            "guidance_scale": self._job.guidance,
        }
        submitted = self.http.post("/generate", json=body)
        submitted.raise_for_status()
        location = submitted.headers["location"]
        while True:
            job: dict[str, Any] = self.http.get(location, headers={"Prefer": f"wait={WAIT_SECONDS}"}).json()
            if job["finished_at"]:
                assert job["status"] in {"succeeded", "in_review"}, job["error"]  # the checker may be unsure
                return job

    def picture(self, job: dict[str, Any]) -> Image.Image:
        return Image.open(io.BytesIO(httpx2.get(job["images"][0]["url"], timeout=30).content)).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder in diffusers' format")
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1], help="PyTorch threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()

    job = Job(options.model.absolute(), options.size, options.steps, options.guidance)
    load = os.getloadavg()[0]
    results = {
        (arm, threads): measure(job, arm=arm, threads=threads, rounds=options.rounds)
        for arm in ARMS
        for threads in dict.fromkeys(options.threads)
    }
    facts = {
        "model": job.folder.name,
        "size": job.size,
        "steps": job.steps,
        "scheduler": SCHEDULER,
        "guidance": job.guidance,
        "device": _device(),
        "rounds": options.rounds,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "target": TARGET,
        **encoding_milliseconds(Reference(job).make(0)),
    }
    rows = "\n".join(_line(arm, threads, rounds) for (arm, threads), rounds in results.items())
    options.out.write_text(TABLE.format(**facts, rows=rows), encoding="utf-8")
    measured = {_name(*key): [asdict(each) for each in rounds] for key, rounds in results.items()}
    ratios = {_name(*key): statistics.median(each.ratio for each in rounds) for key, rounds in results.items()}
    options.out.with_suffix(".json").write_text(
        json.dumps({**facts, "median_ratio": ratios, "rounds_by_arm": measured}, indent=1) + "\n", encoding="utf-8"
    )
    print(options.out.read_text(encoding="utf-8"))


def measure(job: Job, *, arm: str, threads: int, rounds: int) -> list[Round]:
    """An arm's rounds with this many PyTorch threads on each side; one more before them warms both up."""
    torch.set_num_threads(threads)
    reference = Reference(job)
    with running_service(job, threads=threads, settings=ARMS[arm]) as service:
        _same_picture(reference.make(0), service.picture(service.make(0)), most=MOST_OFF[arm])
        return [_round(reference, service, seed) for seed in range(1, rounds + 1)]


def _round(reference: Reference, service: Service, seed: int) -> Round:
    if seed % 2:
        pipeline, _ = _timed(reference, seed)
        served, job = _timed(service, seed)
    else:
        served, job = _timed(service, seed)
        pipeline, _ = _timed(reference, seed)
    created, started, finished = (
        datetime.fromisoformat(job[name]).timestamp() for name in ("created_at", "started_at", "finished_at")
    )
    return Round(pipeline, served, queue_wait=started - created, run=finished - started)


def _timed(side: Reference | Service, seed: int) -> tuple[float, Any]:
    began = time.perf_counter()
    made = side.make(seed)
    return time.perf_counter() - began, made


def _same_picture(reference: Image.Image, served: Image.Image, *, most: int) -> None:
    """Both sides must have done the same work."""
    difference = np.abs(np.asarray(reference, dtype=np.int16) - np.asarray(served, dtype=np.int16)).max()
    assert difference <= most, f"the service's picture differs from the pipeline's by {difference} of 255"


@contextmanager
def running_service(job: Job, *, threads: int, settings: Mapping[str, str]) -> Iterator[Service]:
    """`darkroom up` on a fresh folder and free ports, stopped at the end."""
    settings = {"DARKROOM_TORCH_THREADS": str(threads), **settings}
    with service_up(job.folder, side=job.size, settings=settings) as (url, api_key):
        service = Service(url, api_key, job)
        with service.http:
            yield service


def encoding_milliseconds(image: Image.Image) -> dict[str, float]:
    """Median milliseconds of a PNG with its recipe, and of a bare one."""
    recipe = Recipe(PROMPT, "", 25, "DPM++ 2M", 5.0, 1, image.width, image.height, "measured")
    pixels = np.asarray(image)

    def bare() -> None:
        image.save(io.BytesIO(), "PNG")

    def marked() -> None:
        encode_image(pixels, output_format="png", recipe=recipe)

    return {name: 1_000 * _median_seconds(call) for name, call in (("marked", marked), ("bare", bare))}


def _median_seconds(call: Callable[[], None]) -> float:
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _name(arm: str, threads: int) -> str:
    return f"{arm}, {threads} threads"


def _line(arm: str, threads: int, rounds: Sequence[Round]) -> str:
    def median(name: str) -> float:
        return statistics.median(getattr(each, name) for each in rounds)

    ratios = [each.ratio for each in rounds]
    rest = statistics.median(each.service - each.queue_wait - each.run for each in rounds)
    return (
        f"| {arm} | {threads} | {median('pipeline'):.3f} | {median('service'):.3f} |"
        f" **{statistics.median(ratios):.2f}** | {min(ratios):.2f} to {max(ratios):.2f} |"
        f" {1_000 * median('queue_wait'):.0f} | {1_000 * median('run'):.0f} | {1_000 * rest:.0f} |"
    )


if __name__ == "__main__":
    main()
