"""Turns an image file that a stranger sent into a clean PNG: 8-bit RGB or a grey mask, no metadata, no surprises.

What may cost much is refused before it is done: pixels and frames before decoding. The format is told by content.
Rotation from EXIF and colour profiles are applied, then all metadata is dropped. The API runs it as a program in a
process of its own, under limits (`main`), and never imports it.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO

from PIL import Image, ImageCms, ImageOps

from darkroom.input_limits import FORMATS, MAX_PIXELS, MAX_SIDE, WHOLE_FILE

WHITE = (255, 255, 255)
MEMORY_BYTES = 1024 * 1024 * 1024  # of the program's address space
CPU_SECONDS = 15
_MAGIC: tuple[tuple[bytes, int, bytes, str], ...] = (  # first bytes, then others at an offset
    (b"\x89PNG\r\n\x1a\n", 0, b"", "PNG"),
    (b"\xff\xd8\xff", 0, b"", "JPEG"),
    (b"RIFF", 8, b"WEBP", "WEBP"),
)
_MULTI_PICTURE = "MPO"  # a camera's JPEG with further views behind the picture, which is its first


@dataclass(frozen=True)
class CleanImage:
    """A picture of our own making. `blank` is true of a mask that is black everywhere."""

    png: bytes
    width: int
    height: int
    blank: bool = False


class ImageRefused(Exception):
    """The file can't be used: why, and what could be."""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.message = message
        self.limit = limit


def clean_picture(data: bytes) -> CleanImage:
    """The file's picture in 8-bit RGB; what is transparent becomes white.

    Raises:
        ImageRefused: it is not one picture of an allowed kind and size.
    """
    return _clean(data, _rgb)


def clean_mask(data: bytes) -> CleanImage:
    """The file's brightness in 8-bit grey, white where the picture is to be painted anew; transparent counts as black.

    Raises:
        ImageRefused: it is not one picture of an allowed kind and size.
    """
    return _clean(data, _grey)


def _clean(data: bytes, convert: Callable[[Image.Image], Image.Image]) -> CleanImage:
    kind = _format(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(BytesIO(data), formats=[kind]) as opened:
                _require_modest(opened)
                image = convert(ImageOps.exif_transpose(opened))
    except ImageRefused:
        raise
    except Exception:  # noqa: BLE001 -- decoders meet files of every kind, and fail in as many ways
        raise ImageRefused("is damaged: it can't be decoded", WHOLE_FILE) from None
    # A new picture of the bare pixels, so that nothing of the file's own comes along.
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    buffer = BytesIO()
    bare.save(buffer, "PNG", compress_level=1)  # a third of the time; the worker reads it once
    blank = bare.mode == "L" and bare.getextrema() == (0, 0)
    return CleanImage(buffer.getvalue(), *bare.size, blank=blank)


def _format(data: bytes) -> str:
    for start, offset, mark, kind in _MAGIC:
        if data.startswith(start) and data[offset:].startswith(mark):
            return kind
    limit = f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
    raise ImageRefused(f"must be {limit}", limit)


def _require_modest(image: Image.Image) -> None:
    """Refuse by what the header says, before a pixel is decoded."""
    width, height = image.size
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"at most {MAX_SIDE} pixels a side"
        raise ImageRefused(f"must have {limit}", limit)
    if getattr(image, "n_frames", 1) > 1 and image.format != _MULTI_PICTURE:
        raise ImageRefused("must be a still picture", "one frame")


def _rgb(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, WHITE)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        flat.paste(_to_srgb(layer.convert("RGB"), image), mask=layer.getchannel("A"))
        return flat
    return _to_srgb(_eight_bits(image), image).convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        flat = Image.new("RGB", image.size)
        flat.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
        return flat.convert("L")
    return _eight_bits(image).convert("L")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow cuts 16-bit grey off at 255 instead of scaling it."""
    if not image.mode.startswith("I"):
        return image
    return image.point(lambda value: value * (1 / 257)).convert("L")


def _to_srgb(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Apply the file's colour profile; one that is broken, or for other channels, is as none."""
    profile = opened.info.get("icc_profile")
    if profile and image.mode in {"RGB", "L", "CMYK"}:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
    return image


#: What the program may be asked for.
KINDS: Mapping[str, Callable[[bytes], CleanImage]] = {"picture": clean_picture, "mask": clean_mask}


def main() -> None:
    """Read a file on standard input, write one line of JSON and then the PNG on standard output.

    The line has the clean image's facts, or what is wrong with the file.
    """
    limit_myself()
    try:
        image = KINDS[sys.argv[1]](sys.stdin.buffer.read())
    except ImageRefused as refused:
        answer, png = {"message": refused.message, "limit": refused.limit}, b""
    else:
        answer, png = {name: value for name, value in asdict(image).items() if name != "png"}, image.png
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + png)


def limit_myself() -> None:
    """Give this process no more memory and time than one file may take."""
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for name, most in limits.items():
        with suppress(ValueError, OSError):  # not every system has every limit, or it is lower already
            resource.setrlimit(name, (most, most))


if __name__ == "__main__":
    main()
