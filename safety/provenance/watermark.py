"""Invisible marks behind one interface, by name, and what they say.

The payload is 24 bits drawn from the job and the image, so that it tells a stranger nothing; the fingerprints of
finished images lead back from it. Our own mark is the default. The two of the package `invisible-watermark` are there
for those who install it: they know no key, and carry the same 32 bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import ConfigurationError
from safety.provenance.dct_mark import BITS, PAYLOAD_BITS, DctMark, with_check, without_check
from safety.provenance.reading import Reading


class Watermark(Protocol):
    """Puts a payload into pixels, (height, width, 3) 8-bit RGB, and finds it again."""

    def embed(self, pixels: NDArray[np.uint8], payload: int) -> NDArray[np.uint8]: ...

    def read(self, pixels: NDArray[np.uint8]) -> Reading | None: ...


class PackageMark:
    """A mark of the package `invisible-watermark`.

    It says nothing of how sure it is: one unmarked picture in 256 passes the check bits.
    """

    def __init__(self, method: str, *, least_side: int) -> None:
        try:
            from imwatermark import WatermarkDecoder, WatermarkEncoder  # noqa: PLC0415 -- a package that may be missing

            if method == "rivaGan":
                WatermarkEncoder.loadModel()
                WatermarkDecoder.loadModel()
        except ImportError:
            raise ConfigurationError(
                f"DARKROOM_WATERMARK: {method} needs a package that is not installed: invisible-watermark, and "
                "onnxruntime for rivaGan"
            ) from None
        self._method, self._least_side = method, least_side
        self._encoder, self._decoder = WatermarkEncoder, WatermarkDecoder

    def embed(self, pixels: NDArray[np.uint8], payload: int) -> NDArray[np.uint8]:
        """The marked picture; one that is too small for the method stays as it is."""
        if min(pixels.shape[:2]) < self._least_side:
            return pixels
        encoder: Any = self._encoder()
        encoder.set_watermark("bits", with_check(payload))
        return np.asarray(np.clip(encoder.encode(pixels[..., ::-1], self._method), 0, 255)[..., ::-1], np.uint8)

    def read(self, pixels: NDArray[np.uint8]) -> Reading | None:
        if min(pixels.shape[:2]) < self._least_side:
            return None
        decoder: Any = self._decoder("bits", BITS)
        payload = without_check([int(bit) for bit in decoder.decode(pixels[..., ::-1], self._method)])
        return None if payload is None else Reading(payload=payload, strength=1.0)


#: By the names that DARKROOM_WATERMARK takes.
METHODS: Mapping[str, Callable[[bytes], Watermark]] = {
    "dct": DctMark,
    "dwtDctSvd": lambda _key: PackageMark("dwtDctSvd", least_side=257),  # the package asks for more than 256 x 256
    "rivaGan": lambda _key: PackageMark("rivaGan", least_side=257),
}


def payload_of(job_id: str, index: int) -> int:
    """What the mark of image `index` of a job says, in every attempt."""
    digest = hashlib.sha256(f"darkroom mark\0{job_id}\0{index}".encode()).digest()
    return int.from_bytes(digest[: PAYLOAD_BITS // 8], "big")
