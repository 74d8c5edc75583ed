"""How well `darkroom plan` foretells waits: a measured service against the simulation of the same arrivals.

Each round measures the profile first: forwards, an image beside its steps, what a job takes beside its images, and how
much slower forwards are in a busy worker, which has other threads, than in a bare engine. Then it sends three courses
of mixed jobs to a real service with one worker: all at once, above and below what the worker can do. The simulation is
given the profile and when each job of which kind came, and nothing of the outcome.

A machine that others use is faster now and slower then, and a wait in a queue magnifies that. So each course is
foretold twice: with the profile as it was measured before, and with that profile at the course's own pace, which is the
mean time of the worker's forwards (its metrics) over the profile's for the same mean rows. What is wrong then is the
simulation's own fault.

    python -m bench.plan models/darkroom-tiny      # writes bench/plan.md and .json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import torch

from bench.engine.jobs import TRACE_WEIGHTS
from bench.service import service_up
from cli.capacity.demand import Kind
from cli.capacity.profile import EngineProfile
from cli.capacity.simulation import Arrival, at_quantile, replay
from cli.services import free_port
from engine import Engine, ImageRequest, PipelineSpec

SIDE, GUIDANCE, SCHEDULER, PROMPT = 128, 3.0, "dpmpp_2m", "a red circle on a blue background"
TOGETHER = (1, 4, 8)  # guided images in one burst of the profile
FEW, MANY = 6, 26  # their steps: the difference is steps alone
REPEATS = 3
LOADS = {"at once": None, "1.5 of what fits": 1.5, "0.9 of what fits": 0.9}
TARGET = 0.20
QUANTILES = (0.50, 0.95)

TABLE = """\
# What the plan foretells, and what is measured

`darkroom plan`'s simulation against a running service: one worker with one PyTorch thread, darkroom-tiny at 128 x 128
pixels, {jobs} jobs a course of 4, 20, 30 and 50 steps, guided. The profile is measured before each round, the arrivals
are those of the run. Wait: from submission to the claim. {rounds} rounds, each with its own arrivals; medians over the
rounds, with the range of the ratio. {machine}, {cores} cores, load {load} before and {load_after} after; torch {torch}.

| arrivals | wait | measured, s | profile | foretold, s | foretold / measured | range | within {target:.0%} |
|---|---|---|---|---|---|---|---|
{rows}

"Within" counts the single rounds. Profile "before": measured before the round, nothing of the run known. "At its pace":
the same, its times multiplied by how much slower the worker's forwards were in the run (from its metrics) than in the
profile: {pace} times. A queue that grows for the length of a course is three times as far off as the pace is, and a
wait of a few hundredths of a second is a matter of how soon a place looks. A forward of 16 rows took {full:.1f} ms in
the median of the profiles, {spread}.

Made by `python -m bench.plan models/darkroom-tiny`; every wait of every round is in `plan.json`.
"""


@dataclass(frozen=True)
class Course:
    """One measured course of jobs and what was foretold of it; waits in seconds, sorted."""

    arrivals: str
    pace: float  # the run's forwards over the profile's
    measured: Sequence[float]
    foretold: dict[str, Sequence[float]]  # by the profile that was used

    def ratio(self, profile: str, quantile: float) -> float:
        return at_quantile(self.foretold[profile], quantile) / at_quantile(self.measured, quantile)

    def summary(self) -> str:
        told = {"measured": self.measured, **self.foretold}
        waits = (f"{name} " + " ".join(f"{at_quantile(told[name], each):.2f}" for each in QUANTILES) for name in told)
        return f"{self.arrivals}: {', '.join(waits)}; pace {self.pace:.2f}"


@dataclass(frozen=True)
class Forwards:
    """What the worker has counted so far."""

    count: float
    seconds: float
    rows: float

    def pace(self, before: Forwards, profile: EngineProfile) -> float:
        """How much slower forwards were since then than the profile has them."""
        count = self.count - before.count
        rows = round((self.rows - before.rows) / count)
        return (self.seconds - before.seconds) / count / profile.forward(rows, SIDE**2)


class Service:
    """A caller of the running service."""

    def __init__(self, url: str, api_key: str, metrics_port: int) -> None:
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        self.http = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60)

    def submit(self, steps: int, seed: int) -> str:
        body = {
            "prompt": PROMPT,
            "seed": seed,
            "scheduler": SCHEDULER,
            "num_inference_steps": steps,
            "guidance_scale": GUIDANCE,
        }
        submitted = self.http.post("/generate", json=body)
        submitted.raise_for_status()
        return submitted.headers["location"]

    def ended(self, location: str) -> dict[str, Any]:
        while True:
            job: dict[str, Any] = self.http.get(location).json()
            if job["finished_at"]:
                assert job["status"] == "succeeded", job["error"]
                return job
            time.sleep(0.5)  # the caller must not take the cores from those it measures

    def forwards(self) -> Forwards:
        text = httpx2.get(self._metrics, timeout=30).text

        def total(name: str) -> float:
            return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))

        return Forwards(
            count=total("darkroom_step_time_seconds_count"),
            seconds=total("darkroom_step_time_seconds_sum"),
            rows=total("darkroom_batch_rows_sum"),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a folder in diffusers' format")
    parser.add_argument("--jobs", type=int, default=80, help="of one course")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()

    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    courses: list[Course] = []
    profiles: list[EngineProfile] = []
    spec = PipelineSpec("measured", str(options.model.absolute()))
    with Engine({"measured": spec}, profile_seconds=0.0) as engine, running_service(options.model) as service:
        engine.load("measured")
        service.ended(service.submit(FEW, 0))  # warm
        for number in range(options.rounds):
            profile = measure_profile(engine, service)
            profiles.append(profile)
            pace = 1.0  # of the course before: what fits is reckoned with the latest that is known
            for arrivals, share in LOADS.items():
                rate = share / (pace * _job_seconds(profile)) if share else None
                course = measure(service, profile, arrivals, rate, jobs=options.jobs, seed=number)
                courses.append(course)
                pace = course.pace
                print(f"round {number + 1}, {course.summary()}", file=sys.stderr, flush=True)
            _write(options.out, _facts(options.jobs, rounds=number + 1, load=load), courses, profiles)
    print(options.out.read_text(encoding="utf-8"))


def _facts(jobs: int, *, rounds: int, load: float) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "jobs": jobs,
        "rounds": rounds,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "target": TARGET,
    }


def measure_profile(engine: Engine, service: Service) -> EngineProfile:
    """Of the engine in this process, and of single jobs through the service."""
    for together in TOGETHER:
        _burst(engine, together, FEW)  # warm
    times: dict[tuple[int, int], list[float]] = {
        (together, steps): [] for together in TOGETHER for steps in (FEW, MANY)
    }
    for _ in range(REPEATS):
        for (together, steps), seconds in times.items():
            seconds.append(_burst(engine, together, steps))
    medians = {key: statistics.median(seconds) for key, seconds in times.items()}
    rows = {2 * each: (medians[each, MANY] - medians[each, FEW]) / (MANY - FEW) for each in TOGETHER}
    # Of one alone: those of a burst are decoded together, which jobs that end at different times are not.
    image = medians[1, FEW] - FEW * rows[2]
    alone = [service.ended(service.submit(MANY, seed)) for seed in range(2 * REPEATS)]
    beside = max(statistics.median(map(_run_seconds, alone)) - MANY * rows[2] - image, 0.0)
    bare = EngineProfile(
        name="darkroom-tiny, one thread",
        basis="measured just before",
        side=SIDE,
        rows=rows,
        image_seconds=max(image, 0.0),
        ticket_seconds=statistics.median(map(_wait_seconds, alone)),
        claim_seconds=beside / 3,
        finish_seconds=beside * 2 / 3,
    )
    return _at_pace(bare, _full_pace(service, bare))


def _full_pace(service: Service, profile: EngineProfile) -> float:
    """How much slower forwards are in the worker, full for a while, than in the bare engine."""
    before = service.forwards()
    locations = [service.submit(MANY, seed) for seed in range(REPEATS * max(TOGETHER))]
    for location in locations:
        service.ended(location)
    return service.forwards().pace(before, profile)


def measure(
    service: Service, profile: EngineProfile, arrivals: str, rate: float | None, *, jobs: int, seed: int
) -> Course:
    """Send a course (at once, or at so many jobs a second by chance), wait for its end, and simulate what came."""
    generator = random.Random(f"{arrivals} {seed}")
    steps = generator.choices(tuple(TRACE_WEIGHTS), tuple(TRACE_WEIGHTS.values()), k=jobs)
    before = service.forwards()
    locations, began, at = [], time.monotonic(), 0.0
    for number, count in enumerate(steps):
        at += generator.expovariate(rate) if rate else 0.0
        time.sleep(max(began + at - time.monotonic(), 0.0))
        locations.append(service.submit(count, number))
    ended = [service.ended(location) for location in locations]
    created = [_timestamp(job, "created_at") for job in ended]
    came: list[Arrival] = [(at - created[0], _kind(count)) for at, count in zip(created, steps, strict=True)]
    pace = service.forwards().pace(before, profile)
    foretold = {
        name: replay(came, each, workers=1, generator=random.Random(seed)).waits
        for name, each in {"before": profile, "at its pace": _at_pace(profile, pace)}.items()
    }
    waits = sorted(map(_wait_seconds, ended))
    return Course(arrivals, pace, waits, foretold)


def _at_pace(profile: EngineProfile, pace: float) -> EngineProfile:
    rows = {count: pace * seconds for count, seconds in profile.rows.items()}
    return profile.model_copy(update={"rows": rows, "image_seconds": pace * profile.image_seconds})


def _job_seconds(profile: EngineProfile) -> float:
    """Of the device for one job of the mix, where forwards are full."""
    mean = sum(steps * weight for steps, weight in TRACE_WEIGHTS.items()) / sum(TRACE_WEIGHTS.values())
    return mean * profile.forward(2 * max(TOGETHER), SIDE**2) / max(TOGETHER) + profile.image(SIDE**2)


def _kind(steps: int) -> Kind:
    return Kind(steps=steps, width=SIDE, height=SIDE)


def _burst(engine: Engine, together: int, steps: int) -> float:
    began = time.perf_counter()
    handles = [engine.submit("measured", _request(steps, seed)) for seed in range(together)]
    for handle in handles:
        handle.future.result()
    return time.perf_counter() - began


def _request(steps: int, seed: int) -> ImageRequest:
    return ImageRequest(
        prompt=PROMPT,
        negative_prompt="",
        width=SIDE,
        height=SIDE,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        scheduler=SCHEDULER,
        seed=seed,
    )


def _wait_seconds(job: dict[str, Any]) -> float:
    return _timestamp(job, "started_at") - _timestamp(job, "created_at")


def _run_seconds(job: dict[str, Any]) -> float:
    return _timestamp(job, "finished_at") - _timestamp(job, "started_at")


def _timestamp(job: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(job[name]).timestamp()


@contextmanager
def running_service(model: Path) -> Iterator[Service]:
    """`darkroom up` on a fresh folder and free ports, stopped at the end."""
    port = free_port()
    settings = {
        "DARKROOM_TORCH_THREADS": "1",
        "DARKROOM_PROFILE_SECONDS": "0",
        "DARKROOM_METRICS_PORT": str(port),
    }
    with service_up(model, side=SIDE, settings=settings) as (url, api_key):
        service = Service(url, api_key, port)
        with service.http:
            yield service


def _write(out: Path, facts: dict[str, Any], courses: Sequence[Course], profiles: Sequence[EngineProfile]) -> None:
    full = [1_000 * profile.rows[2 * max(TOGETHER)] for profile in profiles]
    rows = "\n".join(
        _line(arrivals, quantile, profile, courses)
        for arrivals in LOADS
        for quantile in QUANTILES
        for profile in courses[0].foretold
    )
    paces = [course.pace for course in courses]
    spread, pace = f"{min(full):.1f} to {max(full):.1f}", f"{min(paces):.2f} to {max(paces):.2f}"
    text = TABLE.format(**facts, rows=rows, full=statistics.median(full), spread=spread, pace=pace)
    out.write_text(text, encoding="utf-8")
    report = {
        **facts,
        "profiles": [profile.model_dump() for profile in profiles],
        "courses": [asdict(course) for course in courses],
    }
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _line(arrivals: str, quantile: float, profile: str, courses: Sequence[Course]) -> str:
    own = [course for course in courses if course.arrivals == arrivals]
    ratios = [course.ratio(profile, quantile) for course in own]
    within = sum(abs(ratio - 1) <= TARGET for ratio in ratios)
    measured = statistics.median(at_quantile(course.measured, quantile) for course in own)
    foretold = statistics.median(at_quantile(course.foretold[profile], quantile) for course in own)
    return (
        f"| {arrivals} | p{100 * quantile:.0f} | {measured:.2f} | {profile} | {foretold:.2f} |"
        f" **{statistics.median(ratios):.2f}** | {min(ratios):.2f} to {max(ratios):.2f} | {within} of {len(own)} |"
    )


if __name__ == "__main__":
    main()
