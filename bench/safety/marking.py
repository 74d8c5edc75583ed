"""How well marks and manifests live on real outputs: methods x attacks, PSNR, false positives, time.

python -m bench.safety.outputs FOLDER --count 200
python -m bench.safety.marking FOLDER --count 200     # writes bench/safety/marking.json and .md
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from bench.safety.intervals import Share
from bench.safety.outputs import read_outputs
from darkroom.errors import ConfigurationError
from darkroom.settings import ProvenanceSettings
from safety.provenance.credentials import Credentials, make_credentials, trust_anchors
from safety.provenance.encode import encode_image
from safety.provenance.manifest import ManifestSigner
from safety.provenance.manifest_settings import QUIET
from safety.provenance.phash import distance, looks_of
from safety.provenance.recipe import Recipe
from safety.provenance.watermark import METHODS, Watermark, payload_of

HERE = Path(__file__).parent
KEY = b"the key of the measurement......"
TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
Pixels = NDArray[np.uint8]


def _saved(kind: str, **options: int) -> Callable[[Pixels], Pixels]:
    def save(pixels: Pixels) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return save


def _resized(scale: float) -> Callable[[Pixels], Pixels]:
    def resize(pixels: Pixels) -> Pixels:
        height, width = (round(side * scale) for side in pixels.shape[:2])
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))

    return resize


def _cropped(pixels: Pixels) -> Pixels:
    """A tenth of each side away, off the block grid."""
    down, right = (round(side * 0.05) | 1 for side in pixels.shape[:2])
    return pixels[down:-down, right:-right]


def _blurred(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1)))


def _overlaid(pixels: Pixels) -> Pixels:
    """A text bar over a quarter of the picture."""
    image = Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 3 // 4, width, height), fill=(20, 20, 20))
    draw.text((4, height * 3 // 4 + 4), "found on the net", fill=(255, 255, 255))
    return np.asarray(image)


ATTACKS: Mapping[str, Callable[[Pixels], Pixels]] = {
    "none (PNG)": lambda pixels: pixels,
    "our JPEG (95, 4:4:4)": _saved("JPEG", quality=95, subsampling=0),
    "our WebP (95)": _saved("WEBP", quality=95, method=4),
    "JPEG 90": _saved("JPEG", quality=90),
    "JPEG 75": _saved("JPEG", quality=75),
    "JPEG 50": _saved("JPEG", quality=50),
    "WebP 80": _saved("WEBP", quality=80),
    "resized to 0.75": _resized(0.75),
    "resized to 1.5": _resized(1.5),
    "cropped 10 %": _cropped,
    "blurred (1 px)": _blurred,
    "bar over a quarter": _overlaid,
}


def measure(folder: Path, count: int) -> Mapping[str, Any]:
    """Everything, over the first `count` outputs."""
    outputs = list(read_outputs(folder, count))
    scaled = [_resized(4)(pixels) for pixels in outputs[: max(count // 10, 1)]]  # the package's marks need more pixels
    rows = []
    for name, make in METHODS.items():
        try:
            method = make(KEY)
        except ConfigurationError:
            rows.append({"method": name, "missing": True})
            continue
        sets = {"128 px": outputs, "512 px (enlarged)": scaled} if name == "dct" else {"512 px (enlarged)": scaled}
        rows += [{"method": name, "pictures": size, **_watermark(method, pictures)} for size, pictures in sets.items()]
    return {"count": count, "watermarks": rows, "manifests": _manifests(outputs), "looks": _looks(outputs)}


def _watermark(method: Watermark, outputs: Sequence[Pixels]) -> Mapping[str, Any]:
    read, wrong = dict.fromkeys(ATTACKS, 0), 0
    psnr, embed_seconds, read_seconds = [], [], []
    for index, pixels in enumerate(outputs):
        payload = payload_of("measurement", index)
        began = time.perf_counter()
        marked = method.embed(pixels, payload)
        embed_seconds.append(time.perf_counter() - began)
        psnr.append(_psnr(pixels, marked))
        for attack, change in ATTACKS.items():
            reading = method.read(change(marked))
            read[attack] += reading is not None and reading.payload == payload
            wrong += reading is not None and reading.payload not in {payload, None}
        began = time.perf_counter()
        read_seconds.append((method.read(pixels) is not None, time.perf_counter() - began))
    return {
        "images": len(outputs),
        "psnr_db": [round(float(np.mean(psnr)), 1), round(min(psnr), 1)],
        "read": read,
        "wrong_payloads": wrong,
        "false_positives": sum(found for found, _ in read_seconds),
        "embed_ms": round(1000 * float(np.median(embed_seconds)), 1),
        "read_unmarked_ms": round(1000 * float(np.median([seconds for _, seconds in read_seconds])), 1),
    }


def _manifests(outputs: Sequence[Pixels]) -> Mapping[str, Any]:
    """The whole way of a file: marked, written, signed; read by the library with our authority to trust."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_credentials(Path(folder), organisation="Measurement")
        settings = ProvenanceSettings(c2pa_cert_file=certificate, c2pa_key_file=Path(folder) / "c2pa-key.pem")
        credentials = Credentials.from_settings(settings)
        assert credentials is not None
        signer, anchors = ManifestSigner(credentials), trust_anchors(settings).decode()
    method = METHODS["dct"](KEY)
    found: dict[str, dict[str, Any]] = {}
    for output_format, content_type in TYPES.items():
        trusted = marked = tampered = 0
        sizes, seconds = [], []
        for index, pixels in enumerate(outputs):
            payload = payload_of("measurement", index)
            recipe = Recipe("a picture", "", 25, "Euler", 5.0, index, *pixels.shape[1::-1], "darkroom-tiny")
            bare = encode_image(method.embed(pixels, payload), output_format=output_format, recipe=recipe)
            began = time.perf_counter()
            signed = signer.sign(bare, content_type, model="darkroom-tiny")
            seconds.append(time.perf_counter() - began)
            sizes.append(len(signed) - len(bare))
            trusted += _state(signed, content_type, anchors) == "Trusted"
            reading = method.read(np.asarray(Image.open(io.BytesIO(signed)).convert("RGB")))
            marked += reading is not None and reading.payload == payload
            changed = signed[:-30] + bytes([signed[-30] ^ 1]) + signed[-29:]
            tampered += _state(changed, content_type, anchors) == "Trusted"
        found[output_format] = {
            "images": len(outputs),
            "trusted": trusted,
            "mark_read": marked,
            "changed_and_trusted": tampered,
            "added_bytes": int(np.median(sizes)),
            "sign_ms": round(1000 * float(np.median(seconds)), 1),
        }
    return found


def _state(data: bytes, content_type: str, anchors: str) -> str:
    settings = {**QUIET, "trust": {"trust_anchors": anchors}, "verify": {**QUIET["verify"], "verify_trust": True}}
    try:
        with c2pa.Reader(content_type, io.BytesIO(data), context=c2pa.Context.from_dict(settings)) as reader:
            return str(reader.get_validation_state())
    except c2pa.C2paError:
        return "unreadable"


def _looks(outputs: Sequence[Pixels]) -> Mapping[str, Any]:
    """Distances of a picture to its changed copies, and of different pictures to each other."""
    looks = [looks_of(pixels) for pixels in outputs]
    known = [each for each in looks if each is not None]
    pairs = [distance(one, other) for index, one in enumerate(known) for other in known[:index]]
    changed = {
        attack: [
            distance(own, other)
            for pixels, own in zip(outputs, looks, strict=True)
            if own is not None and (other := looks_of(change(pixels))) is not None
        ]
        for attack, change in ATTACKS.items()
    }
    return {
        "flat": len(outputs) - len(known),
        "within_6_bits": {attack: [sum(bits <= 6 for bits in each), len(each)] for attack, each in changed.items()},
        "different_pictures_within_6_bits": [sum(bits <= 6 for bits in pairs), len(pairs)],
    }


def _psnr(pixels: Pixels, other: Pixels) -> float:
    error = float(np.mean((pixels.astype(float) - other) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else 99.0


def _share(hits: int, of: int) -> str:
    return str(Share(hits, of))


def report(found: Mapping[str, Any]) -> Iterator[str]:
    """The page, line by line."""
    yield "# Marks and manifests, measured"
    yield ""
    yield (
        f"{found['count']} outputs of `darkroom-tiny` (128 x 128; the painter's captions, default settings), a "
        "tenth of them enlarged four times for methods that need more pixels. Shares with 95 % Wilson intervals. "
        "Times are of one thread on a shared machine. Made by `python -m bench.safety.marking`."
    )
    there = [row for row in found["watermarks"] if not row.get("missing")]
    yield ""
    yield "| watermark read back after | " + " | ".join(f"{row['method']}, {row['pictures']}" for row in there) + " |"
    yield "|---|" + "---|" * len(there)
    for attack in ATTACKS:
        yield f"| {attack} | " + " | ".join(_share(row["read"][attack], row["images"]) for row in there) + " |"
    yield (
        "| PSNR of the mark: mean, worst (dB) | " + " | ".join("{}, {}".format(*row["psnr_db"]) for row in there) + " |"
    )
    yield "| unmarked pictures called marked | " + " | ".join(
        _share(row["false_positives"], row["images"]) for row in there
    ) + " |"  # fmt: skip
    yield "| wrong payloads read, all changes together | " + " | ".join(
        _share(row["wrong_payloads"], row["images"] * len(ATTACKS)) for row in there
    ) + " |"  # fmt: skip
    yield "| embed, read an unmarked picture (ms) | " + " | ".join(
        f"{row['embed_ms']}, {row['read_unmarked_ms']}" for row in there
    ) + " |"  # fmt: skip
    for row in found["watermarks"]:
        if row.get("missing"):
            yield ""
            yield f"`{row['method']}` was not measured: its package was not installed."
    yield ""
    columns = ("manifest trusted", "mark read", "one bit changed, still trusted", "bytes added", "ms to sign")
    yield f"| file after the whole way | {' | '.join(columns)} |"
    yield "|---|---|---|---|---|---|"
    for output_format, row in found["manifests"].items():
        shares = [_share(row[name], row["images"]) for name in ("trusted", "mark_read", "changed_and_trusted")]
        yield f"| {output_format} | {' | '.join(shares)} | {row['added_bytes']} | {row['sign_ms']} |"
    yield ""
    yield "| looks within 6 of 64 bits | share |"
    yield "|---|---|"
    for attack, (hits, of) in found["looks"]["within_6_bits"].items():
        yield f"| the same picture, {attack} | {_share(hits, of)} |"
    hits, of = found["looks"]["different_pictures_within_6_bits"]
    yield f"| two different outputs | {_share(hits, of)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure marks and manifests on real outputs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=Path, default=HERE / "marking.json")
    chosen = parser.parse_args(arguments)
    found = measure(chosen.folder, chosen.count)
    chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    chosen.out.with_suffix(".md").write_text("\n".join(report(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
