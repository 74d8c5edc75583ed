"""What a clean picture shows of where it comes from: its invisible mark, and its looks as a number.

A program, run in a process of its own beside the one that meets strangers' files: it is given the secret keys, and sees
only pictures of our own making.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from darkroom.input_images import limit_myself
from safety.provenance.phash import looks_of
from safety.provenance.reading import Reading
from safety.provenance.watermark import METHODS


def facts_of(png: bytes, method: str, keys: Iterable[bytes]) -> Mapping[str, Any]:
    """The mark of the first key that finds one, and the looks."""
    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        pixels = np.asarray(image.convert("RGB"))
    readings = (METHODS[method](key).read(pixels) for key in keys) if method in METHODS else iter(())
    reading: Reading | None = next((each for each in readings if each is not None), None)
    return {
        "payload": reading.payload if reading else None,
        "strength": round(reading.strength, 3) if reading else None,
        "looks": looks_of(pixels),
    }


def main() -> None:
    """Read a line of JSON and then the PNG on standard input; write a line of JSON."""
    limit_myself()
    asked = json.loads(sys.stdin.buffer.readline())
    keys = [bytes.fromhex(key) for key in asked["keys"]]
    facts = facts_of(sys.stdin.buffer.read(), asked["method"], keys)
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    main()
