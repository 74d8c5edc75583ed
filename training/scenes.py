"""What a picture shows, before it is painted: objects on a background, or a landscape.

A scene is plain data drawn from a seeded generator. The held-out combinations of shape, colour and background
never leave `sample_scene`, so what the model paints for them shows what it composes, not what it remembers.
Knows no pixels and no words.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (215, 30, 40),
    "green": (35, 150, 60),
    "blue": (35, 70, 205),
    "yellow": (250, 220, 40),
    "orange": (245, 130, 25),
    "purple": (120, 40, 160),
    "pink": (250, 150, 195),
    "cyan": (70, 210, 225),
    "white": (250, 250, 250),
    "black": (20, 20, 24),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring")
STYLES = ("flat", "outline", "pastel")
TIMES = ("day", "sunset", "night")
LAND = ("mountains", "sea", "trees", "house")
HELD_OUT_COUNT = 200

Size = Literal["small", "medium", "large"]
Relation = Literal["above", "below", "left of", "right of"]
RADII: dict[str, tuple[float, float]] = {"small": (0.13, 0.16), "medium": (0.23, 0.30), "large": (0.36, 0.41)}
PLACES: dict[str, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "left": (0.24, 0.5),
    "right": (0.76, 0.5),
    "top": (0.5, 0.24),
    "bottom": (0.5, 0.76),
    "top left": (0.24, 0.24),
    "top right": (0.76, 0.24),
    "bottom left": (0.24, 0.76),
    "bottom right": (0.76, 0.76),
}
RELATIONS: dict[Relation, tuple[tuple[float, float], tuple[float, float]]] = {
    "above": ((0.5, 0.26), (0.5, 0.74)),
    "below": ((0.5, 0.74), (0.5, 0.26)),
    "left of": ((0.26, 0.5), (0.74, 0.5)),
    "right of": ((0.74, 0.5), (0.26, 0.5)),
}
KINDS = ("single", "gradient", "styled", "pair", "landscape")
KIND_WEIGHTS = (58, 8, 9, 15, 10)


class Combination(NamedTuple):
    """One shape in one colour on one background colour."""

    shape: str
    colour: str
    background: str


@dataclass(frozen=True)
class Thing:
    """An object: where its centre is and how far it reaches, in parts of the picture's side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    size: Size = "medium"
    place: str = "centre"


@dataclass(frozen=True)
class Scene:
    """One or two objects on a background of one colour, or of two that melt into each other from top to bottom."""

    things: tuple[Thing, ...]
    background: tuple[str, ...]
    style: str = "flat"
    relation: Relation | None = None


@dataclass(frozen=True)
class Landscape:
    """Parts of a landscape at a time of day; `light` says whether the sun (at night the moon) is in the sky."""

    parts: tuple[str, ...]
    time: str
    light: bool
    style: str = "flat"
    seed: int = 0


Picture = Scene | Landscape


def all_combinations() -> list[Combination]:
    """Every combination whose object stands out from its background."""
    return [Combination(*c) for c in product(SHAPES, COLOURS, COLOURS) if c[1] != c[2]]


def _digest(combination: Combination) -> bytes:
    return hashlib.sha256(" ".join(combination).encode()).digest()


HELD_OUT = frozenset(sorted(all_combinations(), key=_digest)[:HELD_OUT_COUNT])


def held_out_combinations() -> list[Combination]:
    """The combinations no training picture shows, in a fixed shuffled order."""
    return sorted(HELD_OUT, key=_digest)


def seen_combinations() -> list[Combination]:
    """The combinations training may show, in a fixed shuffled order."""
    return [c for c in sorted(all_combinations(), key=_digest) if c not in HELD_OUT]


def combinations_of(picture: Picture) -> list[Combination]:
    """Each object of the picture with each colour of its background."""
    if isinstance(picture, Landscape):
        return []
    return [Combination(t.shape, t.colour, b) for t in picture.things for b in picture.background]


def _allowed(picture: Picture) -> bool:
    return not any(c in HELD_OUT or c.colour == c.background for c in combinations_of(picture))


def place_thing(rng: random.Random, shape: str, colour: str, *, size: Size = "medium", place: str = "centre") -> Thing:
    """An object near the middle of its place, small enough to stay inside the picture."""
    low, high = RADII[size]
    radius = rng.uniform(low, high)
    if place != "centre":
        radius = min(radius, rng.uniform(0.19, 0.21))
    x, y = (c + rng.uniform(-0.03, 0.03) for c in PLACES[place])
    return Thing(shape, colour, x, y, radius, size, place)


def _any_size(rng: random.Random) -> Size:
    sizes: Sequence[Size] = ("small", "medium", "large")
    return rng.choices(sizes, (14, 72, 14))[0]


def _single(rng: random.Random, background: tuple[str, ...], style: str) -> Scene:
    size = _any_size(rng)
    place = rng.choice(tuple(PLACES)) if size != "large" and rng.random() < 0.25 else "centre"
    thing = place_thing(rng, rng.choice(SHAPES), rng.choice(tuple(COLOURS)), size=size, place=place)
    return Scene((thing,), background, style)


def _pair(rng: random.Random, background: tuple[str, ...], style: str) -> Scene:
    relation = rng.choice(tuple(RELATIONS))
    colours = rng.sample(tuple(COLOURS), 2)
    things = []
    for (x, y), colour in zip(RELATIONS[relation], colours, strict=True):
        jitter = (rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02))
        things.append(Thing(rng.choice(SHAPES), colour, x + jitter[0], y + jitter[1], rng.uniform(0.17, 0.2)))
    return Scene(tuple(things), background, style, relation)


def _landscape(rng: random.Random) -> Landscape:
    parts = [p for p in LAND if rng.random() < 0.45] or [rng.choice(LAND)]
    style = rng.choices(STYLES, (7, 1, 2))[0]
    return Landscape(tuple(parts), rng.choice(TIMES), rng.random() < 0.75, style, rng.randrange(1 << 30))


def _draft(rng: random.Random) -> Picture:
    kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
    if kind == "landscape":
        return _landscape(rng)
    background = tuple(rng.sample(tuple(COLOURS), 2 if kind == "gradient" else 1))
    if kind == "pair":
        return _pair(rng, background, rng.choices(STYLES, (8, 1, 1))[0])
    return _single(rng, background, rng.choice(STYLES[1:]) if kind == "styled" else "flat")


def sample_scene(rng: random.Random) -> Picture:
    """A picture to train on, never one with a held-out combination."""
    while not _allowed(picture := _draft(rng)):
        pass
    return picture


def scene_of(combination: Combination, rng: random.Random) -> Scene:
    """The plain picture of one combination: a medium object in the middle of a plain background."""
    return Scene((place_thing(rng, combination.shape, combination.colour),), (combination.background,))
