"""What channels_last gains: the UNet's forward and the VAE's decode, with weights laid out either way.

Rounds are interleaved (each forward once in either layout), and medians of paired ratios are published with their
range, losing rows included, beside how far the two layouts' numbers are apart.

    python -m bench.memory_format models/darkroom-tiny      # writes bench/memory_format.md
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from engine.device import choose_device
from engine.memory import use_channels_last
from engine.pipelines import PipelineSpec, read_pipeline

ROWS = (2, 8, 16)

TABLE = """\
# What channels_last gains

Model {model}, {size}x{size} pixels, {device}, {threads} thread(s), torch {torch}, {machine}. Medians of {rounds}
interleaved rounds; the ratio is channels_last to the plain layout of the same round, below 1 is faster; the difference
is relative, of the outputs' norms.

| work | dtype | plain, ms | ratio | range | difference |
|---|---|---|---|---|---|
{rows}

The engine uses channels_last in half precision alone: in float32 the plain layout gives the reference's images bit for
bit, and some samplers make a rounding of 1e-6 a hundred times larger by their last step.

Made by `python -m bench.memory_format models/{model}`.
"""

Work = Callable[[], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder in diffusers' format")
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()

    device = choose_device("auto")
    dtypes = (torch.float32, torch.float16 if device.type == "cuda" else torch.bfloat16)
    with torch.inference_mode():
        rows = [row for dtype in dtypes for row in _table_rows(options, device, dtype)]
    options.out.write_text(
        TABLE.format(
            model=options.model.name,
            size=options.size,
            device=device.type,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            machine=platform.machine(),
            rounds=options.rounds,
            rows="\n".join(rows),
        ),
        encoding="utf-8",
    )


def _table_rows(options: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> list[str]:
    plain, changed = (_read(options.model, device, dtype) for _ in range(2))
    use_channels_last(changed)
    rows = []
    for name, make in _works(options.size, device, dtype).items():
        milliseconds, ratios, difference = _compare(make(plain), make(changed), rounds=options.rounds)
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(
            f"| {name} | {str(dtype).removeprefix('torch.')} | {milliseconds:.1f} "
            f"| {statistics.median(ratios):.2f} | {span} | {difference:.0e} |"
        )
    return rows


def _read(model: Path, device: torch.device, dtype: torch.dtype) -> Any:
    return read_pipeline(diffusers.StableDiffusionPipeline, PipelineSpec("model", str(model)), dtype=dtype).to(device)


def _works(size: int, device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[Any], Work]]:
    def unet(rows: int) -> Callable[[Any], Work]:
        latents = torch.randn(rows, 4, size // 8, size // 8, dtype=dtype, device=device)
        timesteps = torch.linspace(0, 999, rows, device=device)

        def make(pipeline: Any) -> Work:
            width = pipeline.unet.config.cross_attention_dim
            words = torch.ones(rows, 77, width, dtype=dtype, device=device)
            return lambda: pipeline.unet(latents, timesteps, encoder_hidden_states=words, return_dict=False)[0]

        return make

    latents = torch.randn(1, 4, size // 8, size // 8, dtype=dtype, device=device)
    works = {f"UNet, {rows} rows": unet(rows) for rows in ROWS}
    return {**works, "VAE decode": lambda pipeline: lambda: pipeline.vae.decode(latents, return_dict=False)[0]}


def _compare(plain: Work, changed: Work, *, rounds: int) -> tuple[float, list[float], float]:
    """The plain one's median in ms, each round's ratio, and how far the outputs are apart."""
    expected, other = plain().float(), changed().float()
    pairs = [(_seconds(plain), _seconds(changed)) for _ in range(rounds)]
    difference = float((other - expected).norm() / expected.norm())
    return 1000 * statistics.median(pair[0] for pair in pairs), [pair[1] / pair[0] for pair in pairs], difference


def _seconds(work: Work) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
