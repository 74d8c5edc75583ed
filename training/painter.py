"""Paints scenes: anti-aliased pictures at any size, drawn four times larger and averaged down.

A shape is a list of outlines in a unit circle, the first filled and the others cut out; styles decide how
outlines become ink. Landscapes are layered from the sky to the foreground.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from training.captions import caption
from training.scenes import COLOURS, RGB, Landscape, Picture, Scene, Thing, sample_scene

SIZE = 128
OVERSAMPLE = 4
INK: RGB = (25, 25, 30)
Points = list[tuple[float, float]]


def _regular(corners: int, *, radius: float = 1.0, turn: float = -90.0) -> Points:
    angles = (math.radians(turn + 360 * i / corners) for i in range(corners))
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _star() -> Points:
    outer, inner = _regular(5), _regular(5, radius=0.42, turn=-54)
    return [p for pair in zip(outer, inner, strict=True) for p in pair]


def _heart() -> Points:
    angles = (2 * math.pi * i / 60 for i in range(60))
    return [(math.sin(t) ** 3, _heart_height(t)) for t in angles]


def _heart_height(t: float) -> float:
    return -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16


def _cross() -> Points:
    arm, reach = 0.34, 0.95
    right: Points = [(reach, -arm), (reach, arm), (arm, arm)]
    down = [(-y, x) for x, y in right]
    return [*right, *down, *((-x, -y) for x, y in right), *((-x, -y) for x, y in down)]


OUTLINES: dict[str, list[Points]] = {
    "circle": [_regular(72, radius=0.92)],
    "square": [_regular(4, radius=1.16, turn=-45)],
    "triangle": [[(x, y + 0.2) for x, y in _regular(3, radius=1.12)]],
    "star": [[(x, y + 0.05) for x, y in _star()]],
    "heart": [_heart()],
    "diamond": [[(0.0, -1.0), (0.68, 0.0), (0.0, 1.0), (-0.68, 0.0)]],
    "cross": [_cross()],
    "ring": [_regular(72, radius=0.95), _regular(72, radius=0.52)],
}
SKIES: dict[str, tuple[RGB, RGB]] = {
    "day": ((90, 170, 240), (200, 230, 250)),
    "sunset": ((110, 60, 130), (250, 150, 70)),
    "night": ((10, 12, 40), (40, 45, 95)),
}
LIGHTS: dict[str, RGB] = {"day": (255, 225, 60), "sunset": (250, 90, 40), "night": (240, 240, 225)}
SHADE: dict[str, float] = {"day": 1.0, "sunset": 0.72, "night": 0.42}
GROUND: RGB = (95, 165, 75)


def paint(picture: Picture, size: int = SIZE) -> Image.Image:
    """The picture as an RGB image of size x size pixels."""
    side = size * OVERSAMPLE
    large = _paint_landscape(picture, side) if isinstance(picture, Landscape) else _paint_scene(picture, side)
    return large.reduce(OVERSAMPLE)


def painted_pair(seed: int, size: int = SIZE) -> tuple[Image.Image, str]:
    """The training picture with this number, and its caption."""
    rng = random.Random(seed)
    picture = sample_scene(rng)
    return paint(picture, size), caption(picture, rng)


def _toned(rgb: RGB, style: str) -> RGB:
    return _mix(rgb, (255, 255, 255), 0.5) if style == "pastel" else rgb


def _mix(a: RGB, b: RGB, share: float) -> RGB:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _gradient(top: RGB, bottom: RGB, side: int) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((side, side))
    return Image.composite(Image.new("RGB", (side, side), bottom), Image.new("RGB", (side, side), top), ramp)


def _paint_scene(scene: Scene, side: int) -> Image.Image:
    colours = [_toned(COLOURS[name], scene.style) for name in scene.background]
    image = _gradient(colours[0], colours[-1], side) if len(colours) > 1 else Image.new("RGB", (side, side), colours[0])
    for thing in scene.things:
        image.paste(_toned(COLOURS[thing.colour], scene.style), mask=_mask(thing, side, scene.style))
    return image


def _mask(thing: Thing, side: int, style: str) -> Image.Image:
    """Where the object's colour goes: its inside, or in outline style its contour alone."""
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    width = max(1, round(side * 0.03))
    for i, outline in enumerate(OUTLINES[thing.shape]):
        points = [((thing.x + x * thing.radius) * side, (thing.y + y * thing.radius) * side) for x, y in outline]
        if style == "outline":
            draw.line([*points, *points[:2]], fill=255, width=width, joint="curve")
        else:
            draw.polygon(points, fill=0 if i else 255)
    return mask


def _paint_landscape(scene: Landscape, side: int) -> Image.Image:
    rng = random.Random(scene.seed)
    top, bottom = (_toned(c, scene.style) for c in SKIES[scene.time])
    image = _gradient(top, bottom, side)
    easel = _Easel(image, scene, rng)
    if scene.light:
        easel.light()
    for part in ("mountains", "ground", "sea", "trees", "house"):
        if part == "ground" or part in scene.parts:
            PARTS[part](easel)
    return image


class _Easel:
    """A landscape in the making: the image, its time's shade and the dice for small differences."""

    def __init__(self, image: Image.Image, scene: Landscape, rng: random.Random) -> None:
        self.scene, self.rng, self.side = scene, rng, image.width
        self.draw = ImageDraw.Draw(image)

    def ink(self, rgb: RGB) -> RGB:
        """The colour at this time of day, in this style."""
        return _toned(_mix((12, 10, 35), rgb, SHADE[self.scene.time]), self.scene.style)

    def fill(self, points: Points, rgb: RGB) -> None:
        """A filled area; in outline style its edge is drawn in ink."""
        scaled = [(x * self.side, y * self.side) for x, y in points]
        self.draw.polygon(scaled, fill=self.ink(rgb))
        if self.scene.style == "outline":
            self.draw.line([*scaled, *scaled[:2]], fill=INK, width=max(1, self.side // 80), joint="curve")

    def light(self) -> None:
        """The sun or the moon, not dimmed by the hour."""
        x, y, r = self.rng.uniform(0.2, 0.8), self.rng.uniform(0.15, 0.24), self.rng.uniform(0.08, 0.1)
        box = [(v * self.side) for v in (x - r, y - r, x + r, y + r)]
        edge = INK if self.scene.style == "outline" else None
        self.draw.ellipse(box, _toned(LIGHTS[self.scene.time], self.scene.style), edge, max(1, self.side // 80))


def _mountains(easel: _Easel) -> None:
    for centre in (0.22, 0.78, 0.5):
        x, top = centre + easel.rng.uniform(-0.06, 0.06), easel.rng.uniform(0.3, 0.42)
        easel.fill([(x - 0.36, 0.68), (x, top), (x + 0.36, 0.68)], (125, 125, 140))
        share = 0.3  # of the mountain that is snow
        line = top + (0.68 - top) * share
        easel.fill([(x - 0.36 * share, line), (x, top), (x + 0.36 * share, line)], (240, 242, 248))


def _ground(easel: _Easel) -> None:
    easel.fill([(-0.1, 0.64), (1.1, 0.64), (1.1, 1.1), (-0.1, 1.1)], GROUND)


def _sea(easel: _Easel) -> None:
    easel.fill([(-0.1, 0.66), (1.1, 0.66), (1.1, 0.86), (-0.1, 0.86)], (40, 105, 190))


def _trees(easel: _Easel) -> None:
    for place in (0.12, 0.9, 0.27):
        x = place + easel.rng.uniform(-0.03, 0.03)
        base = easel.rng.uniform(0.86, 0.92)
        trunk = [(x - 0.015, base), (x + 0.015, base), (x + 0.015, base - 0.1), (x - 0.015, base - 0.1)]
        easel.fill(trunk, (95, 60, 35))
        easel.fill([(x - 0.085, base - 0.07), (x, base - 0.34), (x + 0.085, base - 0.07)], (30, 105, 50))


def _house(easel: _Easel) -> None:
    x, base = 0.58 + easel.rng.uniform(-0.06, 0.06), 0.88
    easel.fill([(x - 0.14, base), (x + 0.14, base), (x + 0.14, base - 0.2), (x - 0.14, base - 0.2)], (235, 215, 175))
    easel.fill([(x - 0.18, base - 0.2), (x, base - 0.36), (x + 0.18, base - 0.2)], (190, 55, 45))
    door = [(x - 0.035, base), (x + 0.035, base), (x + 0.035, base - 0.11), (x - 0.035, base - 0.11)]
    easel.fill(door, (110, 70, 40))


PARTS: dict[str, Callable[[_Easel], None]] = {
    "mountains": _mountains,
    "ground": _ground,
    "sea": _sea,
    "trees": _trees,
    "house": _house,
}
