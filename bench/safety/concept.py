"""How often the concept checker of the shipped model errs: red shapes missed, other pictures held or refused.

600 painted pictures, one half with a red shape, and 400 images that the shipped model made for the painter's captions;
none of them was learnt or calibrated on. A generated image counts as what its prompt asks for: where the model paints
another colour, that shows here as an error of the checker.

python -m bench.safety.generated FOLDER --count 400
python -m bench.safety.concept FOLDER            # writes bench/safety/concept.json and .md
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.safety.generated import read, request
from bench.safety.intervals import Share
from safety.image.concepts import load_concepts
from safety.image.embedder import ImageEmbedder
from safety.policy import load_policy
from safety.subjects import ImageSubject
from safety.verdict import Category
from training.concept_checker import painted, shows

PAINTED_SEED, PAINTED, GENERATED = 40_000_000, 600, 400
OUT = Path("bench/safety")
Pixels = NDArray[np.uint8]


def scores_of(pixels: Sequence[Pixels]) -> tuple[list[float], float]:
    """The checker's score of each image, and the milliseconds that one took."""
    embedder = ImageEmbedder(Path("models/darkroom-tiny-clip"))
    check = load_concepts(Path("models/darkroom-tiny-checker"), embedder)
    began = time.perf_counter()
    scores = [check.run(ImageSubject(each))[0].score for each in pixels]
    return scores, (time.perf_counter() - began) / len(pixels) * 1000


def rates(scores: Sequence[float], labels: Sequence[bool], *, review: float, block: float) -> dict[str, object]:
    """What a policy with these bars does with the images."""
    wanted = [score for score, label in zip(scores, labels, strict=True) if label]
    others = [score for score, label in zip(scores, labels, strict=True) if not label]
    return {
        "images": len(scores),
        "missed": Share(sum(s < review for s in wanted), len(wanted)).as_json(),
        "held": Share(sum(review <= s < block for s in wanted), len(wanted)).as_json(),
        "refused": Share(sum(s >= block for s in wanted), len(wanted)).as_json(),
        "falsely_held": Share(sum(review <= s < block for s in others), len(others)).as_json(),
        "falsely_refused": Share(sum(s >= block for s in others), len(others)).as_json(),
    }


def measure(folder: Path) -> dict[str, object]:
    """Every set of images under every pair of bars."""
    pixels, labels = painted(PAINTED_SEED, PAINTED)
    pixels = [*pixels, *read(folder, range(GENERATED))]
    labels = [*labels, *(shows(request(index)[1]) for index in range(GENERATED))]
    scores, milliseconds = scores_of(pixels)
    own = load_policy("stand-in").image.thresholds[Category.custom]
    default = load_policy("default").image.default
    sets = {"painted": slice(0, PAINTED), "generated": slice(PAINTED, None), "all": slice(None)}
    bars = {"stand-in": (own.review, own.block), "default": (default.review, default.block)}
    tables = {
        f"{name}, {policy}": {
            "bars": pair,
            **rates(scores[part], labels[part], review=pair[0], block=pair[1]),
        }
        for policy, pair in bars.items()
        for name, part in sets.items()
    }
    return {"milliseconds_an_image": round(milliseconds, 1), "tables": tables}


def as_markdown(found: dict[str, object]) -> str:
    lines = [
        "# The concept checker of the shipped model",
        "",
        f"{PAINTED} painted pictures and {GENERATED} images of the shipped model, none learnt or calibrated on. Counts",
        "with 95 % intervals (Wilson). A generated image counts as what its prompt asks for.",
        "",
        "| images, policy | bars | red: missed | red: held | red: refused | other: held | other: refused |",
        "|---|---|---|---|---|---|---|",
    ]
    tables = found["tables"]
    assert isinstance(tables, dict)
    for name, row in tables.items():
        cells = [
            str(Share(row[key]["count"], row[key]["total"]))
            for key in ("missed", "held", "refused", "falsely_held", "falsely_refused")
        ]
        lines.append(f"| {name} | {row['bars'][0]:g} / {row['bars'][1]:g} | " + " | ".join(cells) + " |")
    lines += ["", f"One image took {found['milliseconds_an_image']} ms on one busy core."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the concept checker of the shipped model.")
    parser.add_argument("folder", type=Path, help="images of bench.safety.generated")
    found = measure(parser.parse_args().folder)
    (OUT / "concept.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (OUT / "concept.md").write_text(as_markdown(found), encoding="utf-8")
    print(as_markdown(found))


if __name__ == "__main__":
    main()
