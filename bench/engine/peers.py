"""The engine against other ways of serving the same model: bursts, arrivals by chance, a short job among long ones.

Every arm is a server process of its own, with the same model, versions and number of PyTorch threads, asked over HTTP.
Rounds are interleaved and the order turns, ratios are taken within a round, and their median is published with the
range, losing rows included.

    python -m venv peers && peers/bin/pip install -r requirements/worker-cpu.txt -r bench/engine/peers.txt
    python -m bench.engine.peers --peers-python peers/bin/python --examples DIFFUSERS/examples
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.engine.arms import Answer, Arm, RunningArm, all_arms, running
from bench.engine.jobs import Job, equal_burst, mixed_burst, poisson_trace
from bench.engine.reporting import against, machine, spread
from darkroom.catalogue import load_catalogue

LOAD = 0.9  # of P0's capacity
LONG = 50  # steps
SHORT = 4
TRACE_ARMS = ("engine", "P0", "P3")
SHORT_ARMS = ("engine", "P0")
Adapters = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Bench:
    """What is measured with."""

    arms: Sequence[RunningArm]
    adapter_sets: tuple[Adapters, ...]
    rounds: int
    jobs: int  # of one trace

    def of(self, names: Sequence[str]) -> list[RunningArm]:
        return [arm for arm in self.arms if arm.arm.name in names]

    def interleaved(self, arms: Sequence[RunningArm]) -> Iterator[tuple[int, RunningArm]]:
        """(round, arm), the order turned by one place each round."""
        order = list(arms)
        for turn in range(self.rounds):
            for index in range(len(order)):
                arm = order[(index + turn) % len(order)]
                print(f"round {turn + 1} of {self.rounds}: {arm.arm.name}", file=sys.stderr, flush=True)
                yield turn, arm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, default=Path("catalogue.toml"), help="names the model and its LoRAs")
    parser.add_argument("--peers-python", type=Path, help="Python of an environment with peers.txt; else no P3, P4")
    parser.add_argument("--examples", type=Path, help="`examples` of a diffusers checkout; else no P1, P2")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="PyTorch threads of every arm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=160, help="of one trace")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), help="keep the others")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()

    catalogue = load_catalogue(options.catalogue)
    model = catalogue.default_model.source.folder
    assert model is not None, "the default model is a folder"
    adapters = {spec.name: spec.file for spec in catalogue.adapters.values() if spec.model == catalogue.default}
    arms = all_arms(options.peers_python, options.examples)
    with running(arms, model=model, adapters=adapters, threads=options.threads) as started:
        sets: tuple[Adapters, ...] = ((), *(((name, 1.0),) for name in list(adapters)[:3]))
        bench = Bench(started, sets, options.rounds, options.jobs)
        facts = {**machine(), "threads": options.threads, "model": model.name, "rounds": options.rounds}
        facts["arms"] = {arm.name: arm.title for arm in arms}
        results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
        for name in options.only:  # kept one by one: a run takes half an hour
            results |= {**facts, name: MEASUREMENTS[name](bench)}
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(facts, results), encoding="utf-8")
    print(options.out.with_suffix(".md").read_text(encoding="utf-8"))


def equal(bench: Bench, count: int = 8) -> dict[str, list[float]]:
    """Images per second of a burst with equal settings, by arm and round."""
    return _bursts(bench, lambda *_: equal_burst(count))


def mixed(bench: Bench, count: int = 32) -> dict[str, list[float]]:
    """Images per second of a burst with four of everything; the same jobs for every arm, LoRAs where it has them."""

    def jobs(arm: Arm, turn: int) -> list[Job]:
        return mixed_burst(count, bench.adapter_sets if arm.adapters else ((),), seed=turn)

    return _bursts(bench, jobs)


def _bursts(bench: Bench, jobs: Callable[[Arm, int], list[Job]]) -> dict[str, list[float]]:
    speeds: dict[str, list[float]] = {arm.arm.name: [] for arm in bench.arms}
    pictures: dict[int, dict[str, list[Answer]]] = {}
    for arm in bench.arms:  # warm
        arm.burst(equal_burst(2))
    for turn, arm in bench.interleaved(bench.arms):
        answers = arm.burst(jobs(arm.arm, turn))
        speeds[arm.arm.name].append(len(answers) / max(answer.answered for answer in answers))
        pictures.setdefault(turn, {})[arm.arm.name] = answers
    for by_arm in pictures.values():
        _same_pictures(by_arm)
    return speeds


def arrivals(bench: Bench) -> dict[str, Any]:
    """Latencies under Poisson arrivals at `LOAD` of P0's capacity, by arm and trace."""
    serial = bench.of(["P0"])[0]
    capacities = []
    for seed in range(2):  # the first one warms up
        answers = serial.burst([job for _, job in poisson_trace(bench.jobs, bench.adapter_sets, seed=1_000 + seed)])
        capacities.append(len(answers) / max(answer.answered for answer in answers))
    rate = LOAD * capacities[-1]
    latencies: dict[str, list[list[float]]] = {arm.arm.name: [] for arm in bench.of(TRACE_ARMS)}
    for turn, arm in bench.interleaved(bench.of(TRACE_ARMS)):
        trace = [(at / rate, job) for at, job in poisson_trace(bench.jobs, bench.adapter_sets, seed=turn)]
        latencies[arm.arm.name].append([answer.latency for answer in arm.play(trace)])
    return {"capacity": capacities[-1], "rate": rate, "latencies": latencies}


def short_job(bench: Bench) -> dict[str, dict[str, list[float]]]:
    """Latency of a short job that arrives among long ones, over its latency alone, by company, arm and round."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for company in (3, 7):
        by_arm = ratios[str(company)] = {arm.arm.name: [] for arm in bench.of(SHORT_ARMS)}
        for turn, arm in bench.interleaved(bench.of(SHORT_ARMS)):
            quick = Job("a red circle", seed=99, steps=SHORT)
            alone = min(arm.burst([quick])[0].latency for _ in range(3))
            long_ones = [Job("a blue square", seed=turn * 10 + index, steps=LONG) for index in range(company)]
            answers = arm.play([*((0.0, job) for job in long_ones), (0.4, quick)])
            by_arm[arm.arm.name].append(answers[-1].latency / alone)
    return ratios


MEASUREMENTS: Mapping[str, Callable[[Bench], Any]] = MappingProxyType(
    {"equal": equal, "mixed": mixed, "arrivals": arrivals, "short": short_job}
)


def _same_pictures(by_arm: Mapping[str, Sequence[Answer]]) -> None:
    """Arms that were given the same jobs must have made the same pictures."""
    ours = by_arm["engine"]
    for name, theirs in by_arm.items():
        for our, their in zip(ours, theirs, strict=True):
            if our.job == their.job:
                difference = np.abs(_pixels(our.png) - _pixels(their.png)).max()
                assert difference <= 2, f"{name}'s picture differs by {difference} of 255: {their.job}"


def _pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), dtype=np.int16)


def page(facts: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    titles = facts["arms"]
    parts = [
        HEAD.format(**facts, torch=torch.__version__, system=platform.system()),
        "## Eight jobs of equal settings at once\n",
        _speed_table(results["equal"], titles),
        "Target: not below 0.97x of the best peer.\n",
        (
            "## Thirty-two mixed jobs at once\n\nFour step counts (4, 20, 30, 50), four guidances (1, 3, 5, 7.5), four"
            " samplers, four LoRA sets. P1 and P2 make them without LoRAs, which is less work.\n"
        ),
        _speed_table(results["mixed"], titles),
        "Target: at least 1.2x the best peer.\n",
        _arrivals_table(results["arrivals"], titles),
        _short_table(results["short"], titles),
        "Made by `python -m bench.engine.peers`; every figure of every round is in `peers.json`.\n",
    ]
    return "\n".join(parts)


HEAD = """\
# The engine against its peers

Model {model}, {threads} PyTorch thread(s) in every arm, {rounds} interleaved rounds, medians of the rounds' own ratios
with their range. {machine}, {cores} cores, {system}, load {load} before; torch {torch}. Arms that were given the same
jobs must make the same pictures (at most 2 of 255 apart), else the run stops. While one arm is measured, the others'
processes are stopped: some of them poll while they wait, which cost the others up to a fifth.
"""


def _speed_table(speeds: Mapping[str, Sequence[float]], titles: Mapping[str, str]) -> str:
    lines = ["| arm | images/s | engine / arm | range |", "|---|---|---|---|"]
    for name, values in speeds.items():
        ratio = against(speeds["engine"], values) if name != "engine" else ("", "")
        lines.append(f"| {name} {titles[name]} | {statistics.median(values):.2f} | {ratio[0]} | {ratio[1]} |")
    return "\n".join(lines) + "\n"


def _arrivals_table(arrivals: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    latencies = arrivals["latencies"]
    lines = [
        (
            f"## Arrivals by chance\n\nPoisson, {arrivals['rate']:.2f} jobs/s, which is {LOAD} of P0's capacity of"
            f" {arrivals['capacity']:.2f}; the same mix, each trace with its own seed and"
            f" {len(latencies['engine'][0])} jobs.\nA queue at {LOAD} of what its server can do takes about a hundred"
            " jobs to grow to its usual length, so a shorter trace says little.\n"
        ),
        "| arm | mean, s | p95, s | mean: arm / engine | range | p95: arm / engine | range |",
        "|---|---|---|---|---|---|---|",
    ]
    means = {name: [statistics.mean(each) for each in traces] for name, traces in latencies.items()}
    tails = {name: [float(np.quantile(each, 0.95)) for each in traces] for name, traces in latencies.items()}
    for name in latencies:
        cells = [f"{statistics.median(means[name]):.2f}", f"{statistics.median(tails[name]):.2f}"]
        for values in (means, tails):
            cells.extend(against(values[name], values["engine"]) if name != "engine" else ("", ""))
        lines.append(f"| {name} {titles[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nTarget: at least 2x better than P0 and 1.3x than P3.\n"


def _short_table(ratios: Mapping[str, Mapping[str, Sequence[float]]], titles: Mapping[str, str]) -> str:
    lines = [
        f"## A job of {SHORT} steps among jobs of {LONG}\n\nIts latency over its latency alone.\n",
        "| arm | beside three | range | beside seven | range |",
        "|---|---|---|---|---|",
    ]
    for name in ratios["3"]:
        cells = [cell for company in ("3", "7") for cell in spread(ratios[company][name])]
        lines.append(f"| {name} {titles[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nTarget: at most 3x beside three and 5x beside seven.\n"


if __name__ == "__main__":
    main()
