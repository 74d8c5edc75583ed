"""What one more row costs: UNet step time over the number of rows in a forward.

Batching pays where the time per row falls as rows are added; where it doesn't, sharing a forward only spreads latency
fairly. Rounds are interleaved (every row count once a round), and medians of paired ratios are published with their
range.

    python -m bench.batching models/darkroom-tiny      # writes bench/batching.md
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from engine import ImageRequest, PipelineSpec
from engine.batch import gather
from engine.device import choose_device, choose_dtype
from engine.families.family import Family
from engine.loader import FAMILIES
from engine.samples import Sample

ROWS = (1, 2, 4, 6, 8, 12, 16, 24, 32)
BASELINE = 2  # rows of one guided image: what a server without batching runs

TABLE = """\
# What one more row costs

Model {model}, {size}x{size} pixels, {device} at {dtype}, {threads} thread(s), torch {torch}, {machine}. One UNet
forward, medians of {rounds} interleaved rounds; the gain is guided image-steps per second against one image at a time,
each round's forward against the same round's.

| rows | ms | range | ms a row | gain | range |
|---|---|---|---|---|---|
{rows}

Made by `python -m bench.batching models/{model}`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder in diffusers' format")
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()

    device = choose_device("auto")
    dtype = choose_dtype("auto", device)
    family = FAMILIES["sd"](PipelineSpec("model", str(options.model)), device, dtype)
    with torch.inference_mode():
        seconds = measure(family, options.size, rounds=options.rounds)
    options.out.write_text(
        TABLE.format(
            model=options.model.name,
            size=options.size,
            device=device,
            dtype=dtype,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            machine=platform.machine(),
            rounds=options.rounds,
            rows="\n".join(_line(rows, seconds) for rows in seconds),
        ),
        encoding="utf-8",
    )
    print(options.out.read_text(encoding="utf-8"))


def measure(family: Family, size: int, *, rounds: int) -> dict[int, list[float]]:
    """Seconds of each forward, by number of rows; the first round only warms up."""
    batches = {rows: gather([_sample(family, size, seed) for seed in range(rows)]) for rows in ROWS}
    seconds: dict[int, list[float]] = {rows: [] for rows in ROWS}
    for turn in range(rounds + 1):
        for rows, batch in batches.items():
            started = time.perf_counter()
            family.denoise(batch).sum().item()  # reading one number waits for the device
            if turn > 0:
                seconds[rows].append(time.perf_counter() - started)
    return seconds


def _sample(family: Family, size: int, seed: int) -> Sample:
    """An unguided sample: one row."""
    request = ImageRequest(
        prompt="a red circle",
        negative_prompt="",
        width=size,
        height=size,
        num_inference_steps=25,
        guidance_scale=1.0,
        scheduler="dpmpp_2m",
        seed=seed,
    )
    return Sample("model", request, denoising=family.prepare(request, family.encode))


def _line(rows: int, seconds: Mapping[int, Sequence[float]]) -> str:
    taken = [1_000 * each for each in seconds[rows]]
    median = statistics.median(taken)
    gains = [rows / BASELINE * alone / each for alone, each in zip(seconds[BASELINE], seconds[rows], strict=True)]
    return (
        f"| {rows} | {median:.1f} | {min(taken):.1f} to {max(taken):.1f} | {median / rows:.1f} |"
        f" {statistics.median(gains):.2f}x | {min(gains):.2f}x to {max(gains):.2f}x |"
    )


if __name__ == "__main__":
    main()
