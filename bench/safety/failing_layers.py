"""What gets out while a layer of safety is broken: each layer killed, late, wrong or missing in turn, over 1,000 jobs.

python -m bench.safety.failing_layers [--jobs 1000] [--out bench/safety/failing_layers.json]

The real API, job store, worker and object store, with a tiny random model and a check of its own in each layer: prompt
in the API, prompt in the worker, image. A healthy check notes what it has judged. In a round one layer's check fails at
half of its calls, drawn by a seeded generator, or is not there at all. After each round every link that the API gives
out is fetched. An image counts as unverified unless the very pixels that were fetched, and the prompt they were made
from, have been judged in all three layers. Checks find nothing, so a job that ends `blocked` was blamed for a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import platform
import random
import secrets
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import structlog
from PIL import Image

from api.services import Services
from bench.safety.intervals import Share
from cli.services import find_valkey, free_port
from darkroom.job_store import JobStore
from darkroom.jobs import Tier
from darkroom.keys import KeyStore
from darkroom.metrics import Metrics
from darkroom.near_misses import NearMisses
from darkroom.redis_client import make_redis
from darkroom.settings import JobSettings, RedisSettings, SafetySettings
from engine import Engine, PipelineSpec
from safety.pipeline import SafetyPipeline
from safety.policy_set import Policies
from safety.subjects import ImageSubject, PromptSubject
from safety.verdict import Category, Finding, Stage
from tests.api.service import Caller, Places, make_places, make_services, serving
from tests.engine.tiny import save_tiny_pipeline
from tests.fixtures.secret_file import SEALER
from worker.drain import Drain
from worker.heartbeat import Heartbeat
from worker.image_checks import ImageChecks
from worker.prompt_checks import PromptChecks
from worker.runner import JobRunner

HERE = Path(__file__).parent
SEED = 20_261_121
TIMEOUT_SECONDS = 0.05  # of a check; a late one takes three times as long
POLICY = """
schema = 1
name = "house"
version = 1
[prompt]
required_checks = ["api_prompt"]
required_slow_checks = ["worker_prompt"]
[image]
required_checks = ["image"]
"""
LAYERS = ("api_prompt", "worker_prompt", "image")
MISSING = "missing"


def _killed() -> Any:
    raise SystemExit(1)


def _raises() -> Any:
    raise RuntimeError


def _late() -> Any:
    time.sleep(3 * TIMEOUT_SECONDS)
    return []


FAULTS: Mapping[str, Callable[[], Any]] = {
    "killed": _killed,
    "raises": _raises,
    "late": _late,
    "NaN": lambda: [Finding(Category.custom, float("nan"), "broken")],
    "nonsense": lambda: None,
}


@dataclass
class Probe:
    """A check that finds nothing and notes what it has judged, unless it fails."""

    name: str
    stage: Stage
    judged: set[str]
    fault: Callable[[], Any] | None = None
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))

    def run(self, subject: Any) -> Any:
        if self.fault and self.draw.random() < 0.5:
            return self.fault()
        self.judged.add(_mark(subject))
        return []


@dataclass(frozen=True)
class Round:
    """What came of the jobs of one round."""

    layer: str
    fault: str
    jobs: int
    refused_503: int
    ended: Mapping[str, int]
    reachable: int
    unverified: int
    keys_blamed: int


def main() -> None:
    """Break every layer in every way, and write what got out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=HERE / "failing_layers.json")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    broken = [(layer, fault) for layer in LAYERS for fault in (*FAULTS, MISSING)]
    each = -(-args.jobs // len(broken))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, _valkey(Path(folder)) as redis_url, _engine(Path(folder)) as engine:
        bench = Bench(make_places(redis_url, Path(folder) / "api"), engine, Path(folder))
        rounds = [bench.round("none", "none", each)]
        rounds += [bench.round(layer, fault, each) for layer, fault in broken]
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "seconds": round(time.monotonic() - began),
        "seed": SEED,
        "rounds": [asdict(each) for each in rounds],
    }
    args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(_page(rounds, results), encoding="utf-8")
    print(_page(rounds, results))


class Bench:
    """The service, built anew for each round over the same stores."""

    def __init__(self, places: Places, engine: Engine, folder: Path) -> None:
        self._places = places
        self._engine = engine
        own = folder / "policies"
        own.mkdir()
        (own / "house.toml").write_text(POLICY, encoding="utf-8")
        self._policies = Policies(own, default="house")
        self._client = make_redis(RedisSettings(redis_url=places.redis_url))
        self._jobs = JobStore(self._client, JobSettings(), SEALER)

    def round(self, layer: str, fault: str, jobs: int) -> Round:
        """Submit jobs while one layer is broken, run them, and fetch whatever can be fetched."""
        probes = {
            name: Probe(name, Stage.IMAGE if name == "image" else Stage.PROMPT, set(), self._fault(name, layer, fault))
            for name in LAYERS
            if not (name == layer and fault == MISSING)
        }
        api = [probes[name] for name in ("api_prompt",) if name in probes]
        services = replace(make_services(self._places), policies=self._policies, safety=self._pipeline(prompts=api))
        with serving(services) as client:
            caller = Caller(client, KeyStore(self._client))
            answers = [caller.generate(_request(layer, fault, index)) for index in range(jobs)]
            ids = [answer.json()["id"] for answer in answers if answer.status_code == 202]
            self._work_off(services, probes)
            ended, reachable, unverified = self._look(caller, ids, probes)
        refused = sum(answer.status_code == 503 for answer in answers)
        assert refused + len(ids) == jobs, "every answer is a job or a 503"
        blamed = sum(1 for _ in self._client.scan_iter("darkroom:misses:*"))
        return Round(layer, fault, jobs, refused, ended, reachable, unverified, blamed)

    @staticmethod
    def _fault(name: str, layer: str, fault: str) -> Callable[[], Any] | None:
        return FAULTS.get(fault) if name == layer else None

    def _pipeline(self, *, prompts: Any = (), images: Any = (), slow: bool = False) -> SafetyPipeline:
        return SafetyPipeline(
            policy=self._policies.of(None),
            prompt_checks=prompts,
            image_checks=images,
            slow=slow,
            timeout_seconds=TIMEOUT_SECONDS,
        )

    def _work_off(self, services: Services, probes: Mapping[str, Probe]) -> None:
        """Run jobs until none waits. The worker's own copy of the API's check is sound: it is not what is tried."""
        metrics, drain = Metrics(), Drain(grace_seconds=0, terminate=lambda: None)
        sound = Probe("api_prompt", Stage.PROMPT, set())
        prompts = [sound, *(probes[name] for name in ("worker_prompt",) if name in probes)]
        images = [probes[name] for name in ("image",) if name in probes]
        checks = ImageChecks(self._pipeline(images=images), metrics=metrics, policies=self._policies)
        runner = JobRunner(
            engine=self._engine,
            checks=checks,
            jobs=self._jobs,
            objects=services.objects,
            heartbeat=Heartbeat(self._jobs, seconds=1, metrics=metrics),
            drain=drain,
            metrics=metrics,
            pause=lambda _attempt: 0.0,
            prompts=PromptChecks(
                self._pipeline(prompts=prompts, slow=True),
                policies=self._policies,
                adapters={},
                metrics=metrics,
                near_misses=NearMisses(self._client, SafetySettings()),
                idle=False,
            ),
        )
        while claim := self._jobs.claim(
            tier=Tier.STANDARD, worker="bench", nonce=secrets.token_hex(8), lease_seconds=60, models=None
        ):
            runner.run(claim)
        checks.close()

    @staticmethod
    def _look(caller: Caller, ids: list[str], probes: Mapping[str, Probe]) -> tuple[dict[str, int], int, int]:
        ended: Counter[str] = Counter()
        reachable = unverified = 0
        for job_id in ids:
            job = caller.get(f"/jobs/{job_id}").json()
            code = (job["error"] or {}).get("code")
            ended[f"{job['status']} ({code})" if code else job["status"]] += 1
            for image in job["images"]:
                url = urlsplit(image["url"])
                answer = caller.client.get(f"{url.path}?{url.query}")
                if answer.status_code != 200:
                    continue
                reachable += 1
                pixels = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
                prompt = _mark(PromptSubject(job["params"]["prompt"]))
                marks = {"api_prompt": prompt, "worker_prompt": prompt, "image": _mark(ImageSubject(pixels))}
                unverified += not all(name in probes and mark in probes[name].judged for name, mark in marks.items())
        return dict(sorted(ended.items())), reachable, unverified


def _request(layer: str, fault: str, index: int) -> dict[str, Any]:
    prompt = f"a {fault} circle number {index} for {layer}"
    return {"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 1, "scheduler": "ddim", "seed": index}


def _mark(subject: Any) -> str:
    data = subject.pixels.tobytes() if isinstance(subject, ImageSubject) else subject.text.encode()
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _engine(folder: Path) -> Iterator[Engine]:
    with Engine({"tiny": PipelineSpec("tiny", str(save_tiny_pipeline(folder / "model")))}, device="cpu") as engine:
        engine.load("tiny")
        yield engine


@contextlib.contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [find_valkey(), "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _await(RedisSettings(redis_url=f"redis://127.0.0.1:{port}/0"))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


def _await(settings: RedisSettings) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            make_redis(settings).ping()
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _page(rounds: list[Round], results: Mapping[str, Any]) -> str:
    broken = [each for each in rounds if each.layer != "none"]
    jobs = sum(each.jobs for each in broken)
    unverified = Share(sum(each.unverified for each in broken), jobs)
    blamed = max(each.keys_blamed for each in rounds)
    blocked = sum(count for each in rounds for end, count in each.ended.items() if end.startswith("blocked"))
    lines = [
        "# What gets out while a layer of safety is broken",
        "",
        f"{jobs:,} jobs of one image, {len(broken)} ways to be broken; one more round with every layer sound.",
        f"Unverified images that could be fetched, a job: **{unverified}**. Keys that were blamed: {blamed}. Jobs that",
        f"ended `blocked`: {blocked}.",
        "",
        "A broken check fails at half of its calls, so most jobs succeed by one of six attempts, with a verdict; a",
        "missing one fails always. How it is measured: `bench/safety/failing_layers.py`.",
        "",
        "| layer | fault | jobs | 503 at once | how the others ended | images fetched | of these unverified |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in rounds:
        ended = ", ".join(f"{count} {end}" for end, count in each.ended.items()) or "none were taken"
        lines.append(
            f"| {each.layer} | {each.fault} | {each.jobs} | {each.refused_503} | {ended} | {each.reachable} "
            f"| {each.unverified} |"
        )
    lines += ["", f"{results['date']}, {results['seconds']} s, Python {results['python']}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
