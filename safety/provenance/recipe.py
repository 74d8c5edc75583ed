"""How an image was made, as one block of text that image tools can read.

The text is Stable Diffusion web UI's `parameters` format: the prompt with `<lora:name:scale>` behind it, a `Negative
prompt:` line, and one line of `Key: value` pairs. Other tools paste it back into their forms; `parse_recipe` reads it
for replays and tests. Knows no image format and no job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from darkroom import __version__

_NEGATIVE = "\nNegative prompt: "
_PAIR = re.compile(r'\s*([\w][\w /-]*):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_T = TypeVar("_T")
_MIN_PAIRS = 3  # fewer than that is a prompt's own last line, by the format's convention
_EXACT_PROMPT = "Darkroom prompt"
_EXACT_NEGATIVE = "Darkroom negative prompt"
_EXACT_ADAPTERS = "Darkroom adapters"
_EXACT = frozenset({_EXACT_PROMPT, _EXACT_NEGATIVE, _EXACT_ADAPTERS})
_ADAPTER = re.compile(r" <lora:([^<>:\s]+):(-?[0-9.e+-]+)>")
_ADAPTERS = re.compile(rf"(?:{_ADAPTER.pattern})+\Z")
Adapters = tuple[tuple[str, float], ...]  # names with their scales


@dataclass(frozen=True)
class Recipe:
    """Everything that made one image. `scheduler` is the title ("DPM++ 2M"), `version` is Darkroom's own.

    Input images are named by the SHA-256 of the stored file; what an image was made without is None.
    """

    prompt: str
    negative_prompt: str
    steps: int
    scheduler: str
    guidance_scale: float
    seed: int
    width: int
    height: int
    model: str
    version: str = __version__
    adapters: Adapters = ()
    init_image: str | None = None
    strength: float | None = None
    mask_image: str | None = None
    mask_blur: int = 0
    mask_padding: int | None = None
    guidance_rescale: float = 0.0
    guidance_stop: float = 1.0
    refiner: str | None = None
    refiner_start: float | None = None
    safe_guidance: str | None = None  # the level; the concept is the policy's
    pixels: str | None = None  # digest of the pixels before marking, to compare a replay with

    def as_text(self) -> str:
        """Render the recipe, so that `parse_recipe` gives it back unchanged.

        The format has no escape for prompts that hold a line or a tag like its own, so for those (and only those) the
        exact texts are added as further pairs, which other readers pass over.
        """
        pairs = self._pairs()
        text = self._render(pairs)
        if _split(text)[:3] == (self.prompt, self.adapters, self.negative_prompt):
            return text
        exact = {
            _EXACT_PROMPT: self.prompt,
            _EXACT_NEGATIVE: self.negative_prompt,
            _EXACT_ADAPTERS: _tags(self.adapters),
        }
        return self._render({**pairs, **exact})

    def _pairs(self) -> dict[str, str]:
        return {
            "Steps": str(self.steps),
            "Sampler": self.scheduler,
            "CFG scale": _number(self.guidance_scale),
            "Seed": str(self.seed),
            "Size": f"{self.width}x{self.height}",
            "Model": self.model,
            **{key: written for key, write in _EXTRAS.items() if (written := write(self)) is not None},
            "Version": f"darkroom {self.version}",
        }

    def _render(self, pairs: dict[str, str]) -> str:
        negative = f"{_NEGATIVE}{self.negative_prompt}" if self.negative_prompt else ""
        line = ", ".join(f"{key}: {_quoted(key, value)}" for key, value in pairs.items())
        return f"{self.prompt}{_tags(self.adapters)}{negative}\n{line}"


def _number(value: float) -> str:
    """Shortest, and exact."""
    return repr(float(value)).removesuffix(".0")


def _unless(value: float | None, default: float | None) -> str | None:
    return None if value is None or value == default else _number(value)


#: Pairs that only some images have, by the web UI's names where it has one.
_EXTRAS: Mapping[str, Callable[[Recipe], str | None]] = {
    "Denoising strength": lambda recipe: _unless(recipe.strength, None),
    "Init image hash": lambda recipe: recipe.init_image,
    "Mask hash": lambda recipe: recipe.mask_image,
    "Mask blur": lambda recipe: _unless(recipe.mask_blur, 0),
    "Masked area padding": lambda recipe: _unless(recipe.mask_padding, None),
    "CFG rescale": lambda recipe: _unless(recipe.guidance_rescale, 0),
    "CFG stop": lambda recipe: _unless(recipe.guidance_stop, 1),
    "Refiner": lambda recipe: recipe.refiner,
    "Refiner switch at": lambda recipe: _unless(recipe.refiner_start, None),
    "Safe guidance": lambda recipe: recipe.safe_guidance,
    "Pixels hash": lambda recipe: recipe.pixels,
}


def parse_recipe(text: str) -> Recipe:
    """Read back what `Recipe.as_text` wrote.

    Raises:
        ValueError: the text holds no complete recipe.
    """
    prompt, adapters, negative_prompt, pairs = _split(text)
    if _EXACT_ADAPTERS in pairs:
        adapters = _read_tags(pairs[_EXACT_ADAPTERS])
    try:
        width, height = pairs["Size"].split("x")
        return Recipe(
            prompt=pairs.get(_EXACT_PROMPT, prompt),
            negative_prompt=pairs.get(_EXACT_NEGATIVE, negative_prompt),
            steps=int(pairs["Steps"]),
            scheduler=pairs["Sampler"],
            guidance_scale=float(pairs["CFG scale"]),
            seed=int(pairs["Seed"]),
            width=int(width),
            height=int(height),
            model=pairs["Model"],
            version=pairs["Version"].removeprefix("darkroom "),
            adapters=adapters,
            init_image=pairs.get("Init image hash"),
            strength=_maybe(float, pairs.get("Denoising strength")),
            mask_image=pairs.get("Mask hash"),
            mask_blur=int(pairs.get("Mask blur", 0)),
            mask_padding=_maybe(int, pairs.get("Masked area padding")),
            guidance_rescale=float(pairs.get("CFG rescale", 0)),
            guidance_stop=float(pairs.get("CFG stop", 1)),
            refiner=pairs.get("Refiner"),
            refiner_start=_maybe(float, pairs.get("Refiner switch at")),
            safe_guidance=pairs.get("Safe guidance"),
            pixels=pairs.get("Pixels hash"),
        )
    except (KeyError, ValueError):
        raise ValueError("the text holds no recipe, or not a complete one") from None


def _maybe(read: Callable[[str], _T], text: str | None) -> _T | None:
    return None if text is None else read(text)


def _tags(adapters: Adapters) -> str:
    return "".join(f" <lora:{name}:{_number(scale)}>" for name, scale in adapters)


def _read_tags(text: str) -> Adapters:
    """The adapters of a text that holds nothing but tags; one with another scale than a number holds none."""
    try:
        return tuple((name, float(scale)) for name, scale in _ADAPTER.findall(text))
    except ValueError:
        return ()


def _split(text: str) -> tuple[str, Adapters, str, dict[str, str]]:
    body, _, last = text.rpartition("\n")
    pairs = _read_pairs(last)
    if len(pairs) < _MIN_PAIRS:
        body, pairs = text, {}
    prompt, _, negative_prompt = body.partition(_NEGATIVE)
    tags = _ADAPTERS.search(prompt)
    adapters = _read_tags(tags[0]) if tags else ()
    return (prompt[: tags.start()] if tags and adapters else prompt), adapters, negative_prompt, pairs


def _read_pairs(line: str) -> dict[str, str]:
    """Read a line of pairs from its start to the first thing that is none, in one pass."""
    pairs: dict[str, str] = {}
    place = 0
    while match := _PAIR.match(line, place):
        pairs[match[1]] = _unquoted(match[2])
        place = match.end()
    return pairs


def _quoted(key: str, value: str) -> str:
    """A value that holds one of the line's own separators is written as a JSON string."""
    needs_quotes = (
        key in {_EXACT_PROMPT, _EXACT_NEGATIVE, _EXACT_ADAPTERS} or value != value.strip() or set(value) & set(',:\n"')
    )
    return json.dumps(value) if needs_quotes else value


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value.strip()
    try:
        return str(json.loads(value))
    except ValueError:  # a quote that another tool left open
        return value
