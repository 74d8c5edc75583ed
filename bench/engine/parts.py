"""The engine against its own parts: what the loop, LoRAs, previews and a cancel cost.

In one process, interleaved rounds; ratios are taken within a round and their median is published with the range.

    python -m bench.engine.parts       # writes bench/engine/parts.md and .json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.engine.jobs import equal_burst
from bench.engine.reporting import machine, spread
from bench.engine.servers.darkroom_engine import image_request
from darkroom.catalogue import load_catalogue
from darkroom.errors import GenerationCancelled
from engine import AdapterFile, AdapterUse, Engine, ImageRequest, PipelineSpec
from engine.decode import Decoding

JOBS = 8
PREVIEW_EVERY = 5

PAGE = """\
# What the engine's parts cost

Model {model}, {threads} PyTorch thread(s), {rounds} interleaved rounds, medians of the rounds' own ratios with their
range. Eight guided images of 25 steps where nothing else is said. {machine}, {cores} cores, load {load} before; torch
{torch}.

| measurement | median | range | target |
|---|---|---|---|
{rows}

A cancelled sample's rows were free after {cancel_steps} further step(s) at most and {cancel_ms:.0f} ms (median).
Made by `python -m bench.engine.parts`; every round's figures are in `parts.json`.
"""

ROWS = {
    "loop": ("whole run / sum of its UNet, text and VAE calls", "1.08x or less"),
    "four_loras": ("four LoRAs in one batch / no LoRA, time", "1.35x or less"),
    "groups": ("four LoRAs in four groups / in one batch, time", "1.1x or more"),
    "previews": (f"with a preview every {PREVIEW_EVERY} steps / without, time", "1.03x or less"),
    "switch": ("another resident LoRA than the job before: extra time, in steps", "under 1"),
}


class Timed:
    """Seconds spent in the networks of a family, whoever calls them."""

    def __init__(self, family: Any) -> None:
        self.seconds = 0.0
        for name in ("denoise", "encode"):
            setattr(family, name, self._timing(getattr(family, name)))
        family.decode = self._timing_pieces(family.decode)

    def _timing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began

        return timed

    def _timing_pieces(self, start: Callable[[torch.Tensor], Decoding]) -> Callable[[torch.Tensor], Decoding]:
        def timed(latents: torch.Tensor) -> Decoding:
            advance = self._timing(start(latents).__next__)
            while True:
                try:
                    advance()
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                yield

        return timed


class Bench:
    """An engine with the catalogue's default model and its LoRAs."""

    def __init__(self, engine: Engine, loras: Sequence[str]) -> None:
        self.engine = engine
        self.loras = loras

    def make(self, requests: Sequence[ImageRequest], *, on_preview: Callable[..., None] | None = None) -> float:
        """Seconds until all are made."""
        began = time.perf_counter()
        handles = [self.engine.submit("model", request, on_preview=on_preview) for request in requests]
        for handle in handles:
            handle.future.result()
        return time.perf_counter() - began

    def jobs(self, count: int = JOBS, **changes: Any) -> list[ImageRequest]:
        return [replace(image_request(job), **changes) for job in equal_burst(count)]

    def with_lora(self, requests: Sequence[ImageRequest], index: int) -> list[ImageRequest]:
        uses = (AdapterUse(self.loras[index % len(self.loras)], 1.0 - 0.1 * (index // len(self.loras))),)
        return [replace(request, adapters=uses) for request in requests]

    def four_loras(self) -> list[list[ImageRequest]]:
        """Four pairs, each with its own LoRA (or the same LoRA at another scale where fewer are installed)."""
        jobs = self.jobs()
        return [self.with_lora(jobs[2 * index : 2 * index + 2], index) for index in range(4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, default=Path("catalogue.toml"), help="names the model and its LoRAs")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()

    facts = {**machine(), "threads": options.threads, "rounds": options.rounds, "torch": torch.__version__}
    torch.set_num_threads(options.threads)
    with _engine(options.catalogue) as (bench, timed):
        bench.make([request for pair in bench.four_loras() for request in pair])  # warms up, loads the LoRAs
        results = measure(bench, timed, rounds=options.rounds)
    facts["model"] = load_catalogue(options.catalogue).default
    rows = [f"| {title} | {' | '.join(_cells(results[name]))} | {target} |" for name, (title, target) in ROWS.items()]
    cancels = results["cancel"]
    page = PAGE.format(
        **facts,
        rows="\n".join(rows),
        cancel_steps=max(each["steps"] for each in cancels),
        cancel_ms=sorted(each["milliseconds"] for each in cancels)[len(cancels) // 2],
    )
    options.out.write_text(json.dumps({**facts, **results}, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def measure(bench: Bench, timed: Timed, *, rounds: int) -> dict[str, list[Any]]:
    results: dict[str, list[Any]] = {name: [] for name in (*ROWS, "cancel")}
    for _ in range(rounds):
        before = timed.seconds
        plain = bench.make(bench.jobs())
        results["loop"].append(plain / (timed.seconds - before))
        pairs = bench.four_loras()
        together = bench.make([request for pair in pairs for request in pair])
        apart = sum(bench.make(pair) for pair in pairs)
        results["four_loras"].append(together / plain)
        results["groups"].append(apart / together)
        watched = bench.make(bench.jobs(preview_every=PREVIEW_EVERY), on_preview=lambda *_: None)
        results["previews"].append(watched / bench.make(bench.jobs()))
        results["switch"].append(_switch(bench))
        results["cancel"].append(_cancel(bench))
    return results


def _switch(bench: Bench) -> float:
    """Steps that a job takes longer when the job before it used another LoRA."""
    first, second = (bench.with_lora(bench.jobs(1), index) for index in range(2))
    bench.make(first)
    same = bench.make(first)
    other = bench.make(second)
    return (other - same) / (same / first[0].num_inference_steps)


def _cancel(bench: Bench) -> dict[str, float]:
    """Forwards and milliseconds from a cancel to the freed rows, in a batch of four."""
    handles = [bench.engine.submit("model", request) for request in bench.jobs(4, num_inference_steps=50)]
    while bench.engine.stats().running < len(handles):
        time.sleep(0.001)
    time.sleep(0.1)
    steps, began = bench.engine.stats().steps, time.perf_counter()
    handles[0].cancel()
    assert isinstance(handles[0].future.exception(), GenerationCancelled)
    cancelled = {
        "steps": bench.engine.stats().steps - steps,
        "milliseconds": 1_000 * (time.perf_counter() - began),
    }
    for handle in handles[1:]:
        handle.future.result()
    return cancelled


def _cells(values: Sequence[float]) -> tuple[str, str]:
    return spread(values)


@contextmanager
def _engine(catalogue_file: Path) -> Iterator[tuple[Bench, Timed]]:
    catalogue = load_catalogue(catalogue_file)
    folder = catalogue.default_model.source.folder
    loras = [spec for spec in catalogue.adapters.values() if spec.model == catalogue.default]
    files = {spec.name: AdapterFile(spec.name, "model", str(spec.file), spec.sha256) for spec in loras}
    with Engine({"model": PipelineSpec("model", str(folder))}, adapters=files) as engine:
        engine.load("model")
        timed = Timed(engine._loader.ready("model"))  # noqa: SLF001 - its networks are what is timed
        yield Bench(engine, list(files)), timed


if __name__ == "__main__":
    main()
