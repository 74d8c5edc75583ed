"""What may come in as a picture, what comes out, and everything that must not get through."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from darkroom.input_images import CPU_SECONDS, ImageRefused, clean_mask, clean_picture
from darkroom.input_limits import MAX_SIDE

ORIENTATION, GPS = 0x0112, 0x8825
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (24, 16), colour: object = RED) -> Image.Image:
    return Image.new(mode, size, colour)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*, width: int = 8, height: int = 8, depth: int = 8, colour: int = 2, pixels: bytes | None = None,
        before: bytes = b"", after: bytes = b"") -> bytes:  # fmt: skip
    """A PNG built by hand, so that it may lie."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    raw = zlib.compress(b"\0" * (height * (1 + width * 3))) if pixels is None else pixels
    body = chunk(b"IHDR", head) + before + chunk(b"IDAT", raw) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def gradient() -> Image.Image:
    image = Image.new("RGB", (24, 16))
    image.putdata([(x * 10, y * 15, 128) for y in range(16) for x in range(24)])
    return image


WHOLE = encoded(gradient())
JPEG = encoded(gradient(), "JPEG", quality=95)
WEBP = encoded(gradient(), "WEBP", lossless=True)
ANIMATED = [picture(colour=RED), picture(colour=BLUE)]

HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"\x89",
    "text": lambda: b"a red circle on a blue background",
    "a URL": lambda: b"http://169.254.169.254/latest/meta-data/",
    "HTML": lambda: b"<html><script>alert(1)</script></html>",
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "XML bomb": lambda: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><svg>&b;</svg>',
    "PDF": lambda: b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj",
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n/a {a} def a\n",
    "GIF": lambda: encoded(picture("P", colour=0), "GIF"),
    "BMP": lambda: encoded(picture(), "BMP"),
    "TIFF": lambda: encoded(picture(), "TIFF"),
    "ICO": lambda: encoded(picture(), "ICO"),
    "PPM": lambda: encoded(picture(), "PPM"),
    "Photoshop": lambda: b"8BPS\0\1" + b"\0" * 40,
    "HEIC": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "AVIF": lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1",
    "zip": lambda: b"PK\3\4" + b"\0" * 60,
    "gzip of a PNG": lambda: zlib.compress(WHOLE),
    "safetensors": lambda: struct.pack("<Q", 2) + b"{}",
    "pickle": lambda: b"\x80\x04\x95\x0a\0\0\0\0\0\0\0\x8c\x02os\x94.",
    "RIFF that is sound": lambda: b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 24,
    "PNG magic only": lambda: WHOLE[:8],
    "PNG cut in its header": lambda: WHOLE[:20],
    "PNG cut in its pixels": lambda: WHOLE[: len(WHOLE) // 2],
    "PNG without its last chunks": lambda: WHOLE[:-30],
    "PNG with a wrong checksum": lambda: WHOLE[:45] + bytes([WHOLE[45] ^ 1]) + WHOLE[46:],
    "PNG whose pixels are no zlib": lambda: png(pixels=b"not compressed"),
    "PNG with too few pixels": lambda: png(width=64, height=64, pixels=zlib.compress(b"\0" * 40)),
    "PNG of no width": lambda: png(width=0, pixels=b""),
    "PNG of a width beyond 31 bits": lambda: png(width=2**32 - 1, pixels=b""),
    "PNG of an unknown colour type": lambda: png(colour=5),
    "PNG of an unknown depth": lambda: png(depth=3),
    "PNG of one line too long": lambda: encoded(Image.new("1", (65_535, 1))),
    "PNG of one column too long": lambda: encoded(Image.new("1", (1, 65_535))),
    "PNG one pixel too wide": lambda: encoded(Image.new("1", (MAX_SIDE + 1, 8))),
    "PNG bomb of 196 million pixels": lambda: encoded(Image.new("1", (14_000, 14_000))),
    "PNG that claims 1.6 thousand million pixels": lambda: png(width=40_000, height=40_000, pixels=b""),
    "PNG with a text bomb": lambda: png(before=chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 90_000_000))),
    "PNG with many texts": lambda: png(before=chunk(b"tEXt", b"k\0" + b"v" * 900_000) * 80),
    "APNG of two frames": lambda: encoded(ANIMATED[0], save_all=True, append_images=ANIMATED[1:]),
    "APNG that claims 100,000 frames": lambda: png(before=chunk(b"acTL", struct.pack(">II", 100_000, 0))),
    "WebP of two frames": lambda: encoded(ANIMATED[0], "WEBP", save_all=True, append_images=ANIMATED[1:]),
    "WebP cut": lambda: WEBP[: len(WEBP) // 2],
    "WebP of nothing": lambda: b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0",
    "WebP of noise": lambda: b"RIFF\x24\0\0\0WEBPVP8L" + bytes(range(28)),
    "JPEG magic only": lambda: b"\xff\xd8\xff",
    "JPEG cut": lambda: JPEG[: len(JPEG) // 2],
    "JPEG that claims 65,500 a side": lambda: _with_jpeg_size(JPEG, 65_500, 65_500),
    "JPEG of noise": lambda: b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8,
    "JPEG of endless markers": lambda: b"\xff\xd8" + b"\xff\xe1\0\x02" * 100_000,
}  # fmt: skip


def _with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def test_there_are_enough_hostile_files() -> None:
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("kind", [clean_picture, clean_mask])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_with_a_sentence(name: str, kind: Callable[[bytes], object]) -> None:
    with pytest.raises(ImageRefused) as caught:
        kind(HOSTILE[name]())

    assert caught.value.limit
    assert caught.value.__cause__ is None  # what decoders say may quote the file
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("data", [WHOLE, WEBP], ids=["png", "webp"])
def test_pixels_come_out_as_they_went_in(data: bytes) -> None:
    clean = clean_picture(data)

    assert (clean.width, clean.height) == (24, 16)
    with opened(clean.png) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert image.tobytes() == gradient().tobytes()


def test_jpeg_comes_out_close_to_what_went_in() -> None:
    with opened(clean_picture(JPEG).png) as image:
        differences = [abs(a - b) for a, b in zip(image.tobytes(), gradient().tobytes(), strict=True)]

    assert max(differences) < 40
    assert sum(differences) / len(differences) < 6


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("1", 1), ("L", 255), ("P", 0), ("LA", (255, 255)), ("RGB", (255,) * 3), ("RGBA", (255,) * 4), ("I;16", 65_535)],
)  # fmt: skip
def test_every_kind_of_pixel_becomes_8_bit_rgb(mode: str, colour: object) -> None:
    image = picture(mode, colour=colour)
    if mode == "P":
        image.putpalette([255, 255, 255])

    with opened(clean_picture(encoded(image)).png) as out:
        assert (out.mode, out.getpixel((3, 3))) == ("RGB", (255, 255, 255))


def test_16_bit_grey_is_scaled_not_cut() -> None:
    half = encoded(picture("I;16", colour=32_896))

    with opened(clean_picture(half).png) as image, opened(clean_mask(half).png) as mask:
        assert image.getpixel((0, 0)) == (128, 128, 128)
        assert mask.getpixel((0, 0)) == 128


def test_cmyk_becomes_rgb() -> None:
    with opened(clean_picture(encoded(picture("CMYK", colour=(0, 0, 0, 0)), "JPEG")).png) as image:
        assert image.getpixel((0, 0)) == (255, 255, 255)


def test_transparent_is_white_in_a_picture_and_black_in_a_mask() -> None:
    data = encoded(picture("RGBA", colour=(255, 0, 0, 0)))

    with opened(clean_picture(data).png) as image, opened(clean_mask(data).png) as mask:
        assert image.getpixel((0, 0)) == (255, 255, 255)
        assert (mask.mode, mask.getpixel((0, 0))) == ("L", 0)


def test_a_mask_that_marks_nothing_says_so() -> None:
    assert clean_mask(encoded(picture("L", colour=0))).blank
    assert not clean_mask(encoded(picture("L", colour=1))).blank
    assert not clean_picture(encoded(picture(colour=(0, 0, 0)))).blank


def test_rotation_is_applied_and_no_metadata_is_left() -> None:
    image = picture(size=(40, 24))
    image.paste(BLUE, (0, 0, 20, 24))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was held upright: turn by 90 degrees
    exif.get_ifd(GPS)[1] = "N"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a secret prompt")
    for data in (encoded(image, exif=exif, pnginfo=text), encoded(image, "WEBP", exif=exif, lossless=True)):
        clean = clean_picture(data)

        assert (clean.width, clean.height) == (24, 40)
        with opened(clean.png) as out:
            assert (out.getpixel((12, 2)), out.getpixel((12, 38))) == (BLUE, RED)
            assert (out.info, dict(out.getexif())) == ({}, {})
        assert b"secret" not in clean.png


def test_colour_profile_is_applied_and_dropped() -> None:
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = swapped.replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")

    with opened(clean_picture(encoded(picture(), icc_profile=swapped)).png) as image:
        red, green, _ = image.getpixel((0, 0))
        assert green > 200 > red  # the profile says that the first channel is the green light
        assert "icc_profile" not in image.info


def test_broken_colour_profile_is_as_none() -> None:
    with opened(clean_picture(encoded(picture(), icc_profile=b"no profile at all")).png) as image:
        assert image.getpixel((0, 0)) == RED


def test_what_hides_behind_the_picture_is_gone() -> None:
    assert b"<script>" not in clean_picture(WHOLE + b"<script>alert(1)</script>").png


def test_the_largest_picture_is_taken() -> None:
    clean = clean_picture(encoded(Image.new("L", (MAX_SIDE, MAX_SIDE), 7)))

    assert (clean.width, clean.height) == (MAX_SIDE, MAX_SIDE)


def test_the_program_limits_itself() -> None:
    code = (
        "import resource as r, sys; from darkroom.input_images import main; sys.argv = ['x', 'picture']; main();"
        "print(r.getrlimit(r.RLIMIT_CPU)[0], r.getrlimit(r.RLIMIT_FSIZE)[0], file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], input=WHOLE, capture_output=True, check=True)

    assert done.stdout.startswith(b'{"width": 24, "height": 16, "blank": false}\n\x89PNG')
    assert done.stderr.split() == [str(CPU_SECONDS).encode(), b"0"]
