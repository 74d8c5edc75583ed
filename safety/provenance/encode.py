"""Pixels into a file that carries its recipe and says that a model made it.

PNG keeps the recipe in a `parameters` text chunk, JPEG and WebP in the EXIF user comment; all three carry an XMP packet
with IPTC's digital source type. The same pixels and recipe give the same bytes. Needs Pillow, so only a worker
imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from safety.provenance.recipe import Recipe

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype"
TRAINED_ALGORITHMIC_MEDIA = f"{_SOURCE_TYPES}/trainedAlgorithmicMedia"
COMPOSITE_WITH_TRAINED = f"{_SOURCE_TYPES}/compositeWithTrainedAlgorithmicMedia"  # made out of a given picture
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
_UNICODE_COMMENT = b"UNICODE\0"  # EXIF's marker for a UTF-16 user comment


def encode_image(pixels: NDArray[np.uint8], *, output_format: str, recipe: Recipe) -> bytes:
    """Encode (height, width, 3) pixels as png, jpeg or webp with the recipe inside.

    Raises:
        ValueError: the format is not one of the three, or the pixels are not 8-bit RGB.
    """
    if output_format not in _ENCODERS:
        raise ValueError(f"output_format must be one of {', '.join(_ENCODERS)}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError("pixels must be 8-bit RGB, (height, width, 3)")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    buffer = BytesIO()
    source_type = TRAINED_ALGORITHMIC_MEDIA if recipe.init_image is None else COMPOSITE_WITH_TRAINED
    _ENCODERS[output_format](image, buffer, recipe.as_text(), _XMP.format(source_type=source_type))
    return buffer.getvalue()


def _encode_png(image: Image.Image, buffer: BytesIO, text: str, xmp: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)  # Pillow writes iTXt where the text is not Latin-1
    info.add_itxt("XML:com.adobe.xmp", xmp)  # Pillow ignores `xmp=` for PNG without a word
    image.save(buffer, "PNG", pnginfo=info)


def _encode_jpeg(image: Image.Image, buffer: BytesIO, text: str, xmp: str) -> None:
    # 4:4:4 keeps the sharp colour edges that painted pictures have.
    image.save(buffer, "JPEG", quality=95, subsampling=0, exif=_exif(text), xmp=xmp.encode())


def _encode_webp(image: Image.Image, buffer: BytesIO, text: str, xmp: str) -> None:
    image.save(buffer, "WEBP", quality=95, method=4, exif=_exif(text), xmp=xmp.encode())


def _exif(text: str) -> bytes:
    exif = Image.Exif()
    comment = _UNICODE_COMMENT + text.encode("utf-16-be")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif.tobytes()


_ENCODERS: Mapping[str, Callable[[Image.Image, BytesIO, str, str], None]] = {
    "png": _encode_png,
    "jpeg": _encode_jpeg,
    "webp": _encode_webp,
}
