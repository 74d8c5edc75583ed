"""Captions: what a scene shows, in a few words, the way a person would ask for it.

The plain sentence ("a red circle on a blue background") is the commonest; size, place and style are said whenever
they are not the ordinary ones, so that a prompt without them means a medium object in the middle.
"""

from __future__ import annotations

import random

from training.scenes import Landscape, Picture, Scene, Thing

PAIR_WORDS: dict[str, tuple[str, ...]] = {
    "above": ("above", "over"),
    "below": ("below", "under"),
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
}
PART_WORDS: dict[str, tuple[str, ...]] = {
    "mountains": ("mountains",),
    "sea": ("the sea", "sea"),
    "trees": ("trees",),
    "house": ("a house",),
}
TIME_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("by day", "during the day", "on a clear day"),
    "sunset": ("at sunset",),
    "night": ("at night",),
}

OTHER_SIZES = {"small": "little", "large": "big"}


def plain_prompt(shape: str, colour: str, background: str) -> str:
    """The sentence that asks for one object on a plain background."""
    return f"{_article(colour)} {colour} {shape} on {_article(background)} {background} background"


def caption(picture: Picture, rng: random.Random) -> str:
    """A caption of the picture; the generator chooses among ways to say it."""
    words = _landscape(picture, rng) if isinstance(picture, Landscape) else _scene(picture, rng)
    return words + _style(picture.style, rng)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _style(style: str, rng: random.Random) -> str:
    if style == "flat":
        return ", flat style" if rng.random() < 0.05 else ""
    return f", {style} style"


def _noun(thing: Thing, rng: random.Random, *, article: bool = True) -> str:
    words: list[str] = [thing.size] if thing.size != "medium" else []
    if words and rng.random() < 0.2:
        words = [OTHER_SIZES[words[0]]]
    words += [thing.colour, thing.shape]
    return " ".join([_article(words[0]), *words] if article else words)


def _place(thing: Thing, rng: random.Random) -> str:
    place = thing.place
    if place == "centre":
        return rng.choice((" in the centre", " in the middle")) if rng.random() < 0.08 else ""
    if " " in place:
        return f" in the {place} corner" if rng.random() < 0.5 else f" in the {place}"
    return f" on the {place}" if place in ("left", "right") else f" at the {place}"


def _background(colours: tuple[str, ...], rng: random.Random) -> str:
    if len(colours) == 1:
        return f"{colours[0]} background"
    top, bottom = colours
    return f"{top} to {bottom} gradient background" if rng.random() < 0.8 else f"{top} and {bottom} gradient"


def _scene(scene: Scene, rng: random.Random) -> str:
    background = _background(scene.background, rng)
    bare = rng.random() < 0.15
    if scene.relation is None:
        thing = scene.things[0]
        subject = _noun(thing, rng, article=not bare) + _place(thing, rng)
    else:
        first, second = (_noun(t, rng, article=not bare) for t in scene.things)
        subject = f"{first} {rng.choice(PAIR_WORDS[scene.relation])} {second}"
    if bare:
        return f"{subject}, {background}"
    return f"{subject} on {_article(background)} {background}"


def _landscape(landscape: Landscape, rng: random.Random) -> str:
    words = [rng.choice(PART_WORDS[p]) for p in landscape.parts]
    listed = words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
    said = f"{listed} {rng.choice(TIME_WORDS[landscape.time])}"
    if landscape.light:
        light = "the moon" if landscape.time == "night" else "the sun"
        said += rng.choice((f" with {light}", f" under {light}"))
    return said
