"""Likeness to protected references: bars at a stated false-positive rate, what is found after changes, and the time.

References are painted pictures. Unrelated is a picture that shares no shape, colour and background together with any of
them: 1,000 to set the bars on, 1,000 others to measure on. The time is that of the comparison alone, at 100,000
references of random vectors; faiss is measured beside it where it is installed.

python -m bench.safety.similarity      # writes bench/safety/similarity.json and .md
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from bench.safety.intervals import Share
from safety.image.embedder import ImageEmbedder
from safety.image.similarity import Bars
from safety.provenance.phash import looks_of
from training.painter import paint
from training.scenes import Landscape, Picture, combinations_of, sample_scene

CHOOSING, REFERENCES, UNRELATED = 100, 300, 1_000  # the first references are those that the bars are chosen on
RATE = 0.01  # of unrelated images that may be taken for any of the references, half of it by each rule
BITS = (2, 4, 6, 8, 10, 12)
MANY, ROUNDS = 100_000, 20
OUT = Path("bench/safety")
Pixels = NDArray[np.uint8]


def _jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


def _crop(image: Image.Image) -> Image.Image:
    """A tenth of each side less, off the middle, at the old size again."""
    side, left, top = image.width, round(0.07 * image.width), round(0.02 * image.width)
    part = image.crop((left, top, left + round(0.9 * side), top + round(0.9 * side)))
    return part.resize((side, side), Image.Resampling.BICUBIC)


def _overlay(image: Image.Image) -> Image.Image:
    shown = image.copy()
    text, font = "sample", ImageFont.load_default(size=image.width // 8)
    ImageDraw.Draw(shown).text((image.width // 5, image.height // 2), text, fill=(255, 255, 255), font=font)
    return Image.blend(image, shown, 0.6)


TRANSFORMS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "re-encode, JPEG 75": _jpeg,
    "resize to half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "crop 10 %": _crop,
    "mirror": ImageOps.mirror,
    "blur, radius 2": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "overlay of text": _overlay,
}


class Near:
    """How near images come to the references: as they are, and mirrored."""

    def __init__(self, pixels: Sequence[Pixels], protected: Sequence[Pixels], embedder: ImageEmbedder) -> None:
        ways = [pixels, [np.ascontiguousarray(each[:, ::-1]) for each in pixels]]
        vectors, looks = _vectors(protected, embedder), _looks(protected)
        self.cosines = np.stack([_vectors(way, embedder) @ vectors.T for way in ways])  # (2, images, references)
        self.bits = np.stack([np.bitwise_count(_looks(way)[:, None] ^ looks[None]) for way in ways])

    def by(self, bars: Bars) -> Hits:
        """Which images are taken for which references, by either rule."""
        alone = (self.cosines >= bars.alone).any(0)
        beside = ((self.cosines >= bars.beside) & (self.bits <= bars.bits)).any(0)
        return Hits(alone, beside)


class Hits(NamedTuple):
    """(images, references), for each rule."""

    alone: NDArray[np.bool_]
    beside: NDArray[np.bool_]

    def counted(self, choose: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]) -> dict[str, Any]:
        kinds = {"vectors": self.alone, "vectors and hash": self.beside, "either": self.alone | self.beside}
        chosen = {name: choose(hits) for name, hits in kinds.items()}
        return {name: Share(int(hits.sum()), len(hits)).as_json() for name, hits in chosen.items()}


def _vectors(pixels: Sequence[Pixels], embedder: ImageEmbedder) -> NDArray[np.float32]:
    parts = [embedder(pixels[start : start + 64]).numpy() for start in range(0, len(pixels), 64)]
    return np.concatenate(parts)


def _looks(pixels: Sequence[Pixels]) -> NDArray[np.uint64]:
    return np.array([looks_of(each) or 0 for each in pixels], np.uint64)


def references() -> tuple[list[Picture], list[Pixels]]:
    """Scenes with objects, and their pictures."""
    rng, scenes = random.Random(50), []
    while len(scenes) < REFERENCES:
        if not isinstance(picture := sample_scene(rng), Landscape):
            scenes.append(picture)
    return scenes, [np.asarray(paint(scene)) for scene in scenes]


def unrelated(seed: int, protected: Sequence[Picture]) -> list[Pixels]:
    """Pictures of the painter's mixture that share no combination with the references."""
    taken = {combination for scene in protected for combination in combinations_of(scene)}
    rng, found = random.Random(seed), []
    while len(found) < UNRELATED:
        picture = sample_scene(rng)
        if taken.isdisjoint(combinations_of(picture)):
            found.append(np.asarray(paint(picture)))
    return found


def lowest(cosines: NDArray[np.float32], rate: float) -> float:
    """The lowest cosine that takes at most this share of images (images, ...) for any reference."""
    nearest = cosines.reshape(len(cosines), -1).max(1)
    return round(float(np.quantile(nearest, 1 - rate, method="higher")) + 1e-4, 4)


def choose_bars(seen: Near, changed: Mapping[str, Near]) -> Bars:
    """Of the bars that keep the rate, those that find most of the references that are for choosing."""
    alone = lowest(seen.cosines.swapaxes(0, 1), RATE / 2)
    options = []
    for bits in BITS:
        near = np.where(seen.bits <= bits, seen.cosines, -1).swapaxes(0, 1)
        options.append(Bars(alone, max(0.5, lowest(near, RATE / 2)), bits))
    return max(options, key=lambda bars: sum(_own(near.by(bars))[:CHOOSING].sum() for near in changed.values()))


def _own(hits: Hits) -> NDArray[np.bool_]:
    return np.diagonal(hits.alone | hits.beside)


def measure(embedder: ImageEmbedder) -> dict[str, Any]:
    scenes, pixels = references()
    changed = {
        name: Near([np.asarray(change(Image.fromarray(each))) for each in pixels], pixels, embedder)
        for name, change in TRANSFORMS.items()
    }
    bars = choose_bars(Near(unrelated(51, scenes), pixels, embedder), changed)
    others = Near(unrelated(52, scenes), pixels, embedder)
    return {
        "embedder": embedder.sha256,
        "bars": asdict(bars),
        "recall": {
            name: near.by(bars).counted(lambda hits: np.diagonal(hits)[CHOOSING:]) for name, near in changed.items()
        },
        "false_positives": others.by(bars).counted(lambda hits: hits.any(1)),
        "false_positives_at_0.85": Share(int((others.cosines >= 0.85).any((0, 2)).sum()), UNRELATED).as_json(),
        "pairs_by_bits": {
            str(bits): Share(int((others.bits[0] <= bits).sum()), others.bits[0].size).as_json() for bits in (0, *BITS)
        },
    }


def _milliseconds(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(float(np.median(times)) * 1000, 2)


def speed(dimensions: int) -> dict[str, float]:
    """Milliseconds to compare one image, and a batch of eight, with 100,000 references."""
    rng = np.random.default_rng(1)
    many = rng.standard_normal((MANY, dimensions)).astype(np.float32)
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    one, eight = many[:1].copy(), many[:8].copy()
    looks = rng.integers(0, 1 << 63, MANY, dtype=np.uint64)
    found = {
        "numpy, one image": _milliseconds(lambda: (many @ one.T).max(0)),
        "numpy, eight images": _milliseconds(lambda: (many @ eight.T).max(0)),
        "numpy, hashes": _milliseconds(lambda: np.bitwise_count(looks ^ looks[0]).min()),
    }
    if find_spec("faiss"):
        faiss = import_module("faiss")
        flat = faiss.IndexFlatIP(dimensions)
        flat.add(many)
        found["faiss, exact, one image"] = _milliseconds(lambda: flat.search(one, 1))
        coarse = faiss.index_factory(dimensions, "IVF256,Flat", faiss.METRIC_INNER_PRODUCT)
        coarse.train(many[:20_000])
        coarse.add(many)
        coarse.nprobe = 8
        found["faiss, approximate (IVF), one image"] = _milliseconds(lambda: coarse.search(one, 1))
    return found


def as_markdown(found: Mapping[str, Any]) -> str:
    def cells(row: Mapping[str, Any]) -> str:
        return " | ".join(str(Share(share["count"], share["total"])) for share in row.values())

    bars = found["bars"]
    lines = [
        "# Likeness to protected references",
        "",
        f"{REFERENCES} painted references and `darkroom-tiny-clip`. A picture resembles a reference at a cosine of",
        f"{bars['alone']}, or of {bars['beside']} beside a hash with at most {bars['bits']} of 64 bits different, as",
        f"it is or mirrored. These bars take at most {RATE:.0%} of {UNRELATED:,} unrelated pictures for any of the",
        f"references and were chosen on {CHOOSING} of them; measured on the other {REFERENCES - CHOOSING} and on",
        f"{UNRELATED:,} other unrelated pictures. Counts with 95 % intervals (Wilson).",
        "",
        "| | vectors alone | vectors beside a near hash | either |",
        "|---|---|---|---|",
    ]
    lines += [f"| found after: {name} | {cells(row)} |" for name, row in found["recall"].items()]
    lines += [f"| unrelated, taken for a reference | {cells(found['false_positives'])} |", ""]
    at = found["false_positives_at_0.85"]
    lines += [f"With the bar of CLIP ViT-L/14, 0.85, {Share(at['count'], at['total'])} unrelated ones would be.", ""]
    lines += ["| bits of the hash that may differ | pairs of unrelated pictures that are near |", "|---|---|"]
    lines += [f"| {bits} | {Share(row['count'], row['total'])} |" for bits, row in found["pairs_by_bits"].items()]
    lines += ["", f"Milliseconds for the comparison with {MANY:,} references, one thread, median of {ROUNDS}:", ""]
    names = list(found["speed"]["128"])
    lines += ["| | 128 dimensions | 768 dimensions |", "|---|---|---|"]
    lines += [f"| {name} | {found['speed']['128'][name]} | {found['speed']['768'][name]} |" for name in names]
    return "\n".join(lines) + "\n"


def main() -> None:
    found = measure(ImageEmbedder(Path("models/darkroom-tiny-clip")))
    found["speed"] = {str(dimensions): speed(dimensions) for dimensions in (128, 768)}
    (OUT / "similarity.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (OUT / "similarity.md").write_text(as_markdown(found), encoding="utf-8")
    print(as_markdown(found))


if __name__ == "__main__":
    main()
