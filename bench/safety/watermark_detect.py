"""How often the shipped detector of visible overlays errs, on overlays of the kind that it was trained on.

500 pictures with a painted overlay and 500 without, at 128 pixels: painted ones and images of the shipped model, from
seeds that it neither learnt nor was calibrated on; the same painted ones once more at 256 pixels. Fonts are one, the
overlays are ours: about photographs or a stock site's marks this says nothing.

python -m bench.safety.watermark_detect FOLDER     # of bench.safety.generated; writes watermark_detect.json and .md
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.safety.generated import read
from bench.safety.intervals import Share
from safety.image.watermark_text import load_watermark_check
from safety.subjects import ImageSubject
from training.painter import painted_pair
from training.watermark_detector import overlaid

PAINTED_SEED, PAINTED = 41_000_000, 600
GENERATED = range(300, 700)  # the first 300 were learnt and calibrated on
BARS = (0.5, 0.9)
OUT = Path("bench/safety")
Pixels = NDArray[np.uint8]


def measure(folder: Path) -> dict[str, object]:
    small = [np.asarray(painted_pair(PAINTED_SEED + index)[0]) for index in range(PAINTED)]
    large = [np.asarray(painted_pair(PAINTED_SEED + index, 256)[0]) for index in range(PAINTED // 3)]
    sets = {"painted, 128": small, "generated, 128": read(folder, GENERATED), "painted, 256": large}
    return {name: errors(pixels) for name, pixels in sets.items()}


def errors(pixels: Sequence[Pixels]) -> dict[str, object]:
    """Every second picture gets an overlay; what is missed and what is taken for one."""
    check, rng = load_watermark_check(Path("models/darkroom-tiny-overlay")), random.Random(9)
    shown = [overlaid(each, rng) if index % 2 else each for index, each in enumerate(pixels)]
    began = time.perf_counter()
    scores = [check.run(ImageSubject(each))[0].score for each in shown]
    milliseconds = (time.perf_counter() - began) / len(shown) * 1000
    marked, plain = scores[1::2], scores[::2]
    return {
        "milliseconds_an_image": round(milliseconds, 1),
        "bars": {
            str(bar): {
                "missed": Share(sum(score < bar for score in marked), len(marked)).as_json(),
                "falsely_found": Share(sum(score >= bar for score in plain), len(plain)).as_json(),
            }
            for bar in BARS
        },
    }


def as_markdown(found: dict[str, object]) -> str:
    lines = [
        "# The detector of visible overlays",
        "",
        "Painted texts, tiled texts and logos over painted pictures and over images of the shipped model. Counts with",
        "95 % intervals (Wilson). Shipped policies hold from a score of 0.5 on.",
        "",
        "| pictures | bar | overlays missed | plain ones taken for marked | ms an image |",
        "|---|---|---|---|---|",
    ]
    for name, row in found.items():
        assert isinstance(row, dict)
        for bar, rates in row["bars"].items():
            cells = [str(Share(rates[key]["count"], rates[key]["total"])) for key in ("missed", "falsely_found")]
            lines.append(f"| {name} | {bar} | {cells[0]} | {cells[1]} | {row['milliseconds_an_image']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the shipped detector of visible overlays.")
    parser.add_argument("folder", type=Path, help="images of bench.safety.generated")
    found = measure(parser.parse_args().folder)
    (OUT / "watermark_detect.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (OUT / "watermark_detect.md").write_text(as_markdown(found), encoding="utf-8")
    print(as_markdown(found))


if __name__ == "__main__":
    main()
