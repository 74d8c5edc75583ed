"""Full-size SD 1.5 and SDXL on an accelerator: forwards over the row count, images a second, the share of the roof.

Random weights, so it needs no checkpoint and no network. P0 is the plain diffusers pipeline, one image after another,
in the same precision. Rounds are interleaved. The roof is the device's own measured matrix rate in the same precision;
the operations of an image are counted as 2 x multiply-adds of the UNet (two rows a step), VAE and text encoders:
34.7 TFLOP for SD 1.5 (512 pixels, 20 steps), 281 for SDXL (1024 pixels, 20 steps).

    python -m bench.engine.gpu --model sdxl --out sdxl.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import diffusers
import torch

from bench.batching import measure
from bench.engine.full_size import FULL_SIZES, FullSize
from bench.engine.reporting import machine
from engine import Engine, ImageRequest, PipelineSpec
from engine.device import choose_device
from engine.families.family import Family

STEPS = 20
MATRIX = 8_192  # side of the matrices that the roof is measured with
PROMPT = "a red circle on a blue background"


def main() -> None:
    options = _arguments()
    full, device = FULL_SIZES[options.model], choose_device(options.device)
    dtype = getattr(torch, options.dtype)
    torch.manual_seed(0)
    facts: dict[str, Any] = {
        **machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "model": options.model,
        "side": options.side or full.side,
        "dtype": options.dtype,
        "steps": STEPS,
        "shrink": options.shrink,
    }
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        folder = Path(scratch)
        _say("making random weights")
        full.save(folder, dtype, options.shrink)
        facts["matrix_teraflops"] = matrix_rate(device, dtype, side=options.matrix)
        _say(f"matrix rate: {facts['matrix_teraflops']:.0f} TFLOP/s")
        facts["forwards"] = forwards(folder, full, options, device, dtype)
        facts |= images(folder, full, options, device, dtype)
    rate = statistics.median(facts["engine"])
    if options.shrink == 1 and facts["side"] == full.side:
        facts["share_of_roof"] = rate * full.teraflops / facts["matrix_teraflops"]
    ratios = [ours / theirs for ours, theirs in zip(facts["engine"], facts["p0"], strict=True)]
    facts["against_p0"] = {"median": statistics.median(ratios), "range": [min(ratios), max(ratios)]}
    options.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: facts[name] for name in facts if name != "forwards"}, indent=1))


def matrix_rate(device: torch.device, dtype: torch.dtype, *, side: int = MATRIX) -> float:
    """TFLOP/s of one large matrix product, the median of twenty."""
    first, second = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = [_timed(lambda: first @ second, device) for _ in range(23)][3:]
    return 2 * side**3 / statistics.median(seconds) / 1e12


def forwards(
    folder: Path, full: FullSize, options: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> dict[str, dict[int, list[float]]]:
    """Seconds of a UNet forward by row count, eager and, where asked for, compiled."""
    side = options.side or full.side
    seconds = {}
    for way in ("eager", "compiled") if options.compile else ("eager",):
        _say(f"forwards, {way}")
        engine = _engine(folder, full, options, device, dtype, compiled=way == "compiled")
        family: Family = engine._family("model")  # noqa: SLF001 - the bench looks inside
        seconds[way] = measure(family, side, rounds=options.rounds)
    return seconds


def images(
    folder: Path, full: FullSize, options: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> dict[str, list[float]]:
    """Images a second of P0 and of the engine, by round."""
    side = options.side or full.side
    pipeline = full.pipeline.from_pretrained(folder, dtype=dtype).to(device)
    pipeline.set_progress_bar_config(disable=True)

    def serial() -> None:
        for seed in range(options.serial):
            generator = torch.Generator("cpu").manual_seed(seed)
            pipeline(
                PROMPT,
                width=side,
                height=side,
                num_inference_steps=STEPS,
                guidance_scale=7.5,
                generator=generator,
                output_type="np",
            )

    rates: dict[str, list[float]] = {"p0": [], "engine": []}
    with _engine(folder, full, options, device, dtype, compiled=options.compile) as engine:

        def burst() -> None:
            handles = [engine.submit("model", _request(side, seed)) for seed in range(options.burst)]
            for handle in handles:
                handle.future.result()

        serial(), burst()  # warm
        for turn in range(options.rounds):
            _say(f"images, round {turn + 1} of {options.rounds}")
            rates["p0"].append(options.serial / _timed(serial, device))
            rates["engine"].append(options.burst / _timed(burst, device))
    return rates


def _engine(
    folder: Path,
    full: FullSize,
    options: argparse.Namespace,
    device: torch.device,
    dtype: torch.dtype,
    *,
    compiled: bool,
) -> Engine:
    spec = PipelineSpec("model", str(folder), family=full.family, dtype=str(dtype).removeprefix("torch."))
    engine = Engine({"model": spec}, device=str(device), max_rows=options.max_rows, compile_unet=compiled)
    engine.load("model")
    return engine


def _request(side: int, seed: int) -> ImageRequest:
    return ImageRequest(
        prompt=PROMPT,
        negative_prompt="",
        width=side,
        height=side,
        num_inference_steps=STEPS,
        guidance_scale=7.5,
        scheduler="euler",
        seed=seed,
    )


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=FULL_SIZES, default="sdxl")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--side", type=int, help="pixels a side, where not the family's own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--burst", type=int, default=16, help="images at once for the engine")
    parser.add_argument("--serial", type=int, default=2, help="images of a round for P0")
    parser.add_argument("--max-rows", type=int, default=32)
    parser.add_argument("--compile", action="store_true", help="also with compiled UNets")
    parser.add_argument("--shrink", type=int, default=1, help="divide all widths, to try the program")
    parser.add_argument("--matrix", type=int, default=MATRIX, help="side of the matrices of the roof")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
