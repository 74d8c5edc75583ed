"""The painter's pictures in the styles of the shipped LoRAs, with captions that do not name the style.

A style turns a scene into a picture; what the scene shows stays as it is, so the plain caption still fits. `outline`
and `pastel` are also words of the base model; `neon` is not.
"""

from __future__ import annotations

import colorsys
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.captions import caption
from training.painter import OUTLINES, OVERSAMPLE, paint
from training.scenes import COLOURS, RGB, Landscape, Picture, Scene, Thing, sample_scene

NIGHT: RGB = (14, 10, 26)  # neon's background, whatever colour the caption gives it
GLOW = 0.045  # radius, in parts of the picture's side
RIM = 0.055  # width of contours: thinner ones are lost in latents of an eighth of the side


def styled_pair(style: str, seed: int, size: int) -> tuple[Image.Image, str]:
    """The training picture with this number in the style, and its caption without the style's word."""
    rng = random.Random(seed)
    picture = replace(sample_scene(rng), style="flat")
    return paint_in(style, picture, size), caption(picture, rng).removesuffix(", flat style")


def paint_in(style: str, picture: Picture, size: int) -> Image.Image:
    """The picture in one of `PAINTERS`' styles."""
    return PAINTERS[style](picture, size)


def _outline(picture: Picture, size: int) -> Image.Image:
    if isinstance(picture, Landscape):
        return paint(replace(picture, style="outline"), size)
    image = paint(replace(picture, things=()), size)
    for thing in picture.things:
        image.paste(COLOURS[thing.colour], mask=_contour(thing, size))
    return image


def _pastel(picture: Picture, size: int) -> Image.Image:
    return paint(replace(picture, style="pastel"), size)


def _neon(picture: Picture, size: int) -> Image.Image:
    dark = Image.new("RGB", (size, size), NIGHT)
    tubes = _landscape_tubes(picture, size) if isinstance(picture, Landscape) else _scene_tubes(picture, size)
    glow = tubes.filter(ImageFilter.GaussianBlur(GLOW * size))
    return ImageChops.screen(ImageChops.screen(dark, glow), tubes)


def _scene_tubes(scene: Scene, size: int) -> Image.Image:
    """Every object's contour as a light in its colour, on black."""
    tubes = Image.new("RGB", (size, size))
    for thing in scene.things:
        tubes.paste(lit(COLOURS[thing.colour]), mask=_contour(thing, size))
    return tubes


def _contour(thing: Thing, size: int) -> Image.Image:
    """The object's contour as a mask, drawn wider than the painter's own outlines."""
    side = size * OVERSAMPLE
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for outline in OUTLINES[thing.shape]:
        points = [((thing.x + x * thing.radius) * side, (thing.y + y * thing.radius) * side) for x, y in outline]
        draw.line([*points, *points[:2]], fill=255, width=round(side * RIM), joint="curve")
    return mask.reduce(OVERSAMPLE)


def _landscape_tubes(landscape: Landscape, size: int) -> Image.Image:
    """The edges of a landscape's parts as lights in the parts' colours, on black."""
    flat = paint(landscape, size)
    edges = ImageChops.subtract(flat.filter(ImageFilter.MaxFilter(3)), flat.filter(ImageFilter.MinFilter(3)))
    strongest = ImageChops.lighter(ImageChops.lighter(*edges.split()[:2]), edges.split()[2])
    mask = strongest.point([min(255, max(0, 4 * (v - 12))) for v in range(256)])
    bright = flat.filter(ImageFilter.MaxFilter(5)).convert("HSV")
    hue, saturation, _ = bright.split()
    vivid = saturation.point([min(255, 2 * v) for v in range(256)])
    lights = Image.merge("HSV", (hue, vivid, Image.new("L", flat.size, 255))).convert("RGB")
    return Image.composite(lights, Image.new("RGB", flat.size), mask)


def lit(rgb: RGB) -> RGB:
    """A colour as a neon tube shows it: at full brightness and saturation; grey tones glow pale, black a dim violet."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(v / 255 for v in rgb))
    if value < 0.2:
        return (105, 80, 150)
    if saturation < 0.1:
        return (255, 255, 255)
    red, green, blue = colorsys.hsv_to_rgb(hue, min(1.0, saturation * 1.5), 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


PAINTERS: Mapping[str, Callable[[Picture, int], Image.Image]] = MappingProxyType(
    {"outline": _outline, "pastel": _pastel, "neon": _neon}
)
