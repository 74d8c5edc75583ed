"""Our own invisible mark: 32 keyed bits in the luma of an image's 8x8 blocks, read back without the original.

Quantisation index modulation (Chen and Wornell 2001): each of a few low DCT coefficients of a block moves to the
nearest point of one of two lattices, which stand for 0 and 1 and are shifted by a secret amount. A bit is spread over
many coefficients and read by their sum, so that JPEG may destroy some. The pattern repeats every 128 pixels, so that
a reader finds it in a crop too. 24 bits are the payload, 8 check it. Knows no job.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safety.provenance.reading import Reading

PAYLOAD_BITS, CHECK_BITS = 24, 8
BITS = PAYLOAD_BITS + CHECK_BITS
BLOCK = 8  # pixels; JPEG's own, so that its quantiser meets the mark coefficient by coefficient
SUBTILE, TILE = 8, 16  # blocks: the smaller holds every bit equally often, the larger is what repeats
#: Row and column of the block's DCT: low enough to live through JPEG, not so low that flat areas show them.
COEFFICIENTS: tuple[tuple[int, int], ...] = ((0, 2), (1, 1), (2, 0))
STEP = 24.0  # a coefficient moves by at most half of it, and is read wrongly after an error of a quarter
ROUNDS = 8  # clipped and rounded pixels undo part of the mark, so it is put in again
#: How far above chance the agreement must be, in chance's own standard deviations: in place, and by search, which
#: tries 16,384 places for each scale.
SURE_IN_PLACE, SURE_BY_SEARCH = 8.0, 11.0
#: By which a copy is resized back: what is common in sharing, smaller copies first.
SCALES: tuple[float, ...] = (1.0, 4 / 3, 2.0, 1.5, 1.25, 8 / 7, 10 / 9, 0.5, 2 / 3, 0.75, 0.8)
STRIP = 512  # rows read at once: a whole large picture in floating point would take a gigabyte
SEARCHED = 512  # pixels a side, of the middle: more would only cost time
_LUMA = np.array([0.299, 0.587, 0.114])
_CHECK_POLYNOMIAL = 0x07  # CRC-8
_Floats = NDArray[np.float64]
_Phases = NDArray[np.complex128]


class DctMark:
    """The mark of one key."""

    def __init__(self, key: bytes) -> None:
        self._bit, self._shift = _pattern(key)  # of each coefficient of a tile: (TILE, TILE, coefficients)
        carried = np.eye(BITS)[self._bit]
        self._carried = np.fft.fft2(carried, axes=(0, 1))
        self._kernels = np.fft.fft2(carried * np.exp(2j * np.pi * self._shift)[..., None], axes=(0, 1))

    def embed(self, pixels: NDArray[np.uint8], payload: int) -> NDArray[np.uint8]:
        """The same picture with the payload in it; (height, width, 3) 8-bit RGB."""
        height, width = (side // BLOCK * BLOCK for side in pixels.shape[:2])
        if not height or not width:
            return pixels
        targets = self._targets(payload, height // BLOCK, width // BLOCK)
        part = pixels[:height, :width].astype(np.float64)
        for _ in range(ROUNDS):
            part = _moved(part, targets)
        marked = pixels.copy()
        marked[:height, :width] = part.astype(np.uint8)
        return marked

    def read(self, pixels: NDArray[np.uint8]) -> Reading | None:
        """The mark in its place, else in a crop or in a resized copy; None where there is none."""
        strips = (_luma(pixels[top : top + STRIP]) for top in range(0, pixels.shape[0], STRIP))
        coefficients = np.concatenate([_coefficients(strip) for strip in strips])
        in_place = _agreed(*self._votes(*_folded(coefficients)), bar=SURE_IN_PLACE)
        if in_place is not None:
            return in_place
        copies = (_luma(_resized(_middle(pixels, scale), scale)) for scale in SCALES)
        found = (self._searched(luma) for luma in copies)
        return next((reading for reading in found if reading is not None), None)

    def _targets(self, payload: int, rows: int, columns: int) -> _Floats:
        """Where between two lattice points each coefficient has to lie, in steps: (rows, columns, coefficients)."""
        phase = self._shift + 0.5 * np.array(with_check(payload))[self._bit]
        return np.tile(phase, (-(-rows // TILE), -(-columns // TILE), 1))[:rows, :columns]

    def _votes(self, phases: _Phases, covered: _Floats) -> tuple[_Floats, _Floats]:
        """For each bit the sum of its coefficients' votes (positive for 0), and how many there are."""
        votes = (phases * np.exp(-2j * np.pi * self._shift)).real
        count = np.broadcast_to(covered[..., None], votes.shape)
        return _by_bit(self._bit, votes), _by_bit(self._bit, count)

    def _searched(self, luma: _Floats) -> Reading | None:
        """Try every position of the blocks in the image, and of the image in the pattern."""
        best: tuple[float, _Floats, _Floats] | None = None
        for down in range(BLOCK):
            for right in range(BLOCK):
                phases, covered = _folded(_coefficients(luma[down:, right:]))
                sums, counts = self._votes_everywhere(phases, covered)
                scores = _above_chance(sums, counts)
                place = int(scores.argmax())
                if best is None or scores[place] > best[0]:
                    best = float(scores[place]), sums[place], counts[place]
        assert best is not None, "there are as many positions as a block has pixels"
        return _agreed(best[1], best[2], bar=SURE_BY_SEARCH)

    def _votes_everywhere(self, phases: _Phases, covered: _Floats) -> tuple[_Floats, _Floats]:
        """`_votes` for each shift of the image within the tile: (shifts, BITS) twice.

        That is a correlation over the tile for each bit, made at once by the Fourier transform.
        """
        moved = np.fft.fft2(phases, axes=(0, 1)).conj()[..., None]
        counted = np.fft.fft2(covered).conj()[..., None, None]
        sums = np.fft.ifft2((moved * self._kernels).sum(axis=2), axes=(0, 1)).real
        counts = np.fft.ifft2((counted * self._carried).sum(axis=2), axes=(0, 1)).real
        return sums.reshape(-1, BITS), counts.round().reshape(-1, BITS)


def with_check(payload: int) -> list[int]:
    """The payload's bits and those that check them, highest first."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"a payload has {PAYLOAD_BITS} bits")
    whole = payload << CHECK_BITS | _check(payload)
    return [whole >> place & 1 for place in reversed(range(BITS))]


def without_check(bits: list[int]) -> int | None:
    """The payload of bits that fit together."""
    whole = int("".join(map(str, bits)), 2)
    payload, check = whole >> CHECK_BITS, whole & ((1 << CHECK_BITS) - 1)
    return payload if _check(payload) == check else None


def _check(payload: int) -> int:
    """CRC-8, from a start that is not zero so that no bits at all are no payload."""
    check = 0xFF
    for byte in payload.to_bytes(PAYLOAD_BITS // 8, "big"):
        check ^= byte
        for _ in range(8):
            check = (check << 1 ^ (_CHECK_POLYNOMIAL if check & 0x80 else 0)) & 0xFF
    return check


def _pattern(key: bytes) -> tuple[NDArray[np.int64], _Floats]:
    """Which bit each coefficient of a tile carries, and its secret shift in steps.

    Drawn from SHAKE-256 and not from a random generator of numpy's, whose streams may change between releases.
    """
    shape = (TILE, TILE, len(COEFFICIENTS))
    drawn = hashlib.shake_256(b"darkroom mark 1\0" + key).digest(2 * 8 * int(np.prod(shape)))
    order, shift = np.frombuffer(drawn, ">u8").reshape(2, *shape)
    bit = np.empty(shape, np.int64)
    for top in range(0, TILE, SUBTILE):
        for left in range(0, TILE, SUBTILE):
            place = np.s_[top : top + SUBTILE, left : left + SUBTILE]
            ranks = order[place].ravel().argsort(kind="stable").argsort(kind="stable")
            bit[place] = (ranks % BITS).reshape(bit[place].shape)
    return bit, shift.astype(np.float64) / 2.0**64


@lru_cache(maxsize=1)
def _basis() -> _Floats:
    """The DCT's own patterns, orthonormal: (coefficients, BLOCK, BLOCK)."""
    angles = np.pi * (2 * np.arange(BLOCK) + 1) / (2 * BLOCK)
    waves = [np.cos(frequency * angles) * np.sqrt((2 if frequency else 1) / BLOCK) for frequency in range(BLOCK)]
    return np.array([np.outer(waves[row], waves[column]) for row, column in COEFFICIENTS])


def _luma(pixels: NDArray[np.uint8] | _Floats) -> _Floats:
    return np.asarray(pixels @ _LUMA, np.float64)


def _coefficients(luma: _Floats) -> _Floats:
    """Of each whole block: (rows, columns, coefficients)."""
    rows, columns = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
    blocks = luma[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return np.asarray(np.einsum("rycx,kyx->rck", blocks, _basis(), optimize=True), np.float64)


def _moved(part: _Floats, targets: _Floats) -> _Floats:
    """The pixels after each coefficient went to its nearest point, rounded to what a file can hold."""
    found = _coefficients(_luma(part)) / STEP - targets
    change = (np.rint(found) - found) * STEP
    added = np.einsum("rck,kyx->rycx", change, _basis(), optimize=True).reshape(part.shape[:2])
    return np.asarray(np.rint(np.clip(part + added[..., None], 0, 255)), np.float64)


def _folded(coefficients: _Floats) -> tuple[_Phases, _Floats]:
    """Each coefficient as an angle within the step, the mean over all that stand at the same place of a tile.

    Returns the means, (TILE, TILE, coefficients), and which places of the tile the image covers.
    """
    rows, columns = coefficients.shape[:2]
    padded = np.zeros((-(-max(rows, 1) // TILE) * TILE, -(-max(columns, 1) // TILE) * TILE, len(COEFFICIENTS)), complex)
    padded[:rows, :columns] = np.exp(2j * np.pi / STEP * coefficients)
    there = np.zeros(padded.shape[:2])
    there[:rows, :columns] = 1
    total = padded.reshape(-1, TILE, padded.shape[1] // TILE, TILE, len(COEFFICIENTS)).sum(axis=(0, 2))
    count = there.reshape(-1, TILE, there.shape[1] // TILE, TILE).sum(axis=(0, 2))
    return total / np.maximum(count, 1)[..., None], (count > 0).astype(np.float64)


def _by_bit(bit: NDArray[np.int64], values: _Floats) -> _Floats:
    return np.asarray(np.bincount(bit.ravel(), weights=values.ravel(), minlength=BITS), np.float64)


def _above_chance(sums: _Floats, counts: _Floats) -> _Floats:
    """How much stronger the votes agree than those of an unmarked image, in standard deviations; by the last axis.

    There a bit's mean vote is normal with variance 1 / 2n, so that its size has the half-normal's mean and deviation.
    """
    counts = np.maximum(counts, 1)
    deviation = np.sqrt(0.5 / counts)
    excess = (np.abs(sums) / counts - deviation * np.sqrt(2 / np.pi)).sum(axis=-1)
    return np.asarray(excess / np.sqrt((deviation**2 * (1 - 2 / np.pi)).sum(axis=-1)))


def _agreed(sums: _Floats, counts: _Floats, *, bar: float) -> Reading | None:
    if _above_chance(sums, counts) < bar:
        return None
    bits = [int(vote < 0) for vote in sums]
    return Reading(payload=without_check(bits), strength=float((np.abs(sums) / np.maximum(counts, 1)).mean()))


def _resized(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return pixels
    height, width = (max(round(side * scale), 1) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def _middle(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """What becomes at most SEARCHED pixels a side by that scale."""
    most = round(SEARCHED / scale)
    top, left = (max(side - most, 0) // 2 for side in pixels.shape[:2])
    return pixels[top : top + most, left : left + most]
