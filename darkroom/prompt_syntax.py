"""The weighting syntax of prompts, as stable-diffusion-webui made it known: which words count how much.

`(word:1.3)` sets a weight, `(word)` multiplies by 1.1, `[word]` divides by it; they nest. A backslash before a bracket
or a backslash takes its meaning away, and a bracket without its other half is an ordinary character. Takes time in
proportion to the text, whatever it holds. Knows nothing of tokens or models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

STEP = 1.1  # what one pair of brackets multiplies or divides by
MAX_WEIGHT = 4.0  # pictures fall apart well below it

# Possessive (++, *+): nothing is ever tried twice, so no text makes the scan slow.
_PART = re.compile(
    r"\\(?P<escaped>[()\[\]\\])"
    r"|(?P<bracket>[()\[\]]|:\s*+(?P<number>[+-]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++))\s*+\))"
    r"|(?P<text>[^\\()\[\]:]++|.)",
    re.DOTALL,
)
_OPENING = {")": "(", "]": "["}
_HUGE = 1e6  # products stay below it, or some number of brackets would make infinity
_DIGITS = 6  # of a weight, so that `[(word)]` is 1 again


@dataclass(frozen=True)
class Fragment:
    """A stretch of a prompt that has one weight."""

    text: str
    weight: float


@dataclass
class _Part:
    """A piece of the source; `factor` is what an opening bracket does to all up to its closing one."""

    source: str  # as it stands in the prompt, an escaping backslash left out
    factor: float | None = None
    closes: bool = False


def parse_prompt(prompt: str) -> tuple[Fragment, ...]:
    """The prompt without its syntax, cut where the weight changes; weights are 0 to MAX_WEIGHT."""
    stretches = groupby(_weighted(_matched(prompt)), key=itemgetter(1))
    return tuple(Fragment("".join(text for text, _ in stretch), weight) for weight, stretch in stretches)


def plain_text(prompt: str) -> str:
    """What a prompt says once its weights are taken away."""
    return "".join(fragment.text for fragment in parse_prompt(prompt))


def _matched(prompt: str) -> list[_Part]:
    """The prompt's parts, each bracket with its other half known."""
    parts: list[_Part] = []
    open_at: list[int] = []  # where brackets stand in `parts` that wait for their other half
    waiting = {"(": 0, "[": 0}
    for match in _PART.finditer(prompt):
        parts.append(_Part(match["escaped"] or match[0]))
        if match["bracket"] is None:
            continue
        if match[0] in waiting:
            open_at.append(len(parts) - 1)
            waiting[match[0]] += 1
            continue
        opening = _OPENING[match[0][-1]]
        if not waiting[opening]:
            continue
        while True:  # those on top of the stack that are of the other kind never find their half
            candidate = parts[open_at.pop()]
            waiting[candidate.source] -= 1
            if candidate.source == opening:
                break
        candidate.factor = _factor(opening, match["number"])
        parts[-1].closes = True
    return parts


def _factor(opening: str, number: str | None) -> float:
    if number is not None:
        return min(max(float(number), 0.0), MAX_WEIGHT)
    return STEP if opening == "(" else 1 / STEP


def _weighted(parts: list[_Part]) -> Iterator[tuple[str, float]]:
    weights = [1.0]
    for part in parts:
        if part.factor is not None:
            weights.append(min(weights[-1] * part.factor, _HUGE))
        elif part.closes:
            weights.pop()
        else:
            yield part.source, min(round(weights[-1], _DIGITS), MAX_WEIGHT)
