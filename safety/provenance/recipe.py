"""How an image was made, as one block of text that image tools can read.

The text is Stable Diffusion web UI's `parameters` format: the prompt, a `Negative prompt:` line, and one line of
`Key: value` pairs. Other tools paste it back into their forms; `parse_recipe` reads it for replays and tests. Knows no
image format and no job.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from darkroom import __version__

_NEGATIVE = "\nNegative prompt: "
_PAIR = re.compile(r'\s*([\w][\w /-]*):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_MIN_PAIRS = 3  # fewer than that is a prompt's own last line, by the format's convention
_EXACT_PROMPT = "Darkroom prompt"
_EXACT_NEGATIVE = "Darkroom negative prompt"


@dataclass(frozen=True)
class Recipe:
    """Everything that made one image. `scheduler` is the title ("DPM++ 2M"), `version` is Darkroom's own."""

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

    def as_text(self) -> str:
        """Render the recipe, so that `parse_recipe` gives it back unchanged.

        The format has no escape for prompts that hold a line like its own, so for those (and only those) the exact
        texts are added as two further pairs, which other readers pass over.
        """
        pairs = self._pairs()
        text = self._render(pairs)
        if _split(text)[:2] == (self.prompt, self.negative_prompt):
            return text
        return self._render({**pairs, _EXACT_PROMPT: self.prompt, _EXACT_NEGATIVE: self.negative_prompt})

    def _pairs(self) -> dict[str, str]:
        return {
            "Steps": str(self.steps),
            "Sampler": self.scheduler,
            "CFG scale": repr(float(self.guidance_scale)).removesuffix(".0"),
            "Seed": str(self.seed),
            "Size": f"{self.width}x{self.height}",
            "Model": self.model,
            "Version": f"darkroom {self.version}",
        }

    def _render(self, pairs: dict[str, str]) -> str:
        negative = f"{_NEGATIVE}{self.negative_prompt}" if self.negative_prompt else ""
        line = ", ".join(f"{key}: {_quoted(key, value)}" for key, value in pairs.items())
        return f"{self.prompt}{negative}\n{line}"


def parse_recipe(text: str) -> Recipe:
    """Read back what `Recipe.as_text` wrote.

    Raises:
        ValueError: the text holds no complete recipe.
    """
    prompt, negative_prompt, pairs = _split(text)
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
        )
    except (KeyError, ValueError):
        raise ValueError("the text holds no recipe, or not a complete one") from None


def _split(text: str) -> tuple[str, str, dict[str, str]]:
    body, _, last = text.rpartition("\n")
    pairs = _read_pairs(last)
    if len(pairs) < _MIN_PAIRS:
        body, pairs = text, {}
    prompt, _, negative_prompt = body.partition(_NEGATIVE)
    return prompt, negative_prompt, pairs


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
    needs_quotes = key in {_EXACT_PROMPT, _EXACT_NEGATIVE} or value != value.strip() or set(value) & set(',:\n"')
    return json.dumps(value) if needs_quotes else value


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value.strip()
    try:
        return str(json.loads(value))
    except ValueError:  # a quote that another tool left open
        return value
