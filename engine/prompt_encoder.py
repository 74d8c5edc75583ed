"""Prompts -> what a UNet reads: any length, with weights, through one text encoder or several side by side.

Each chunk of a prompt is a row of its own for the text encoders; the rows' embeddings then stand behind one another.
Weights mean what they mean in compel: a token's embedding is moved away from the empty prompt's or towards it, and a
stretch below 1 also moves the whole towards what the prompt is without it. A plain prompt of one chunk is encoded as
diffusers does it, bit by bit. The models stay as they are: an embedding's vectors are put in for one forward alone.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from darkroom.prompt_chunks import MARKERS, Plan, Token, Vector, Vocabulary, plan_chunks
from engine.textual_inversion import Word, vectors_in_place

MAX_PLANS = 512  # kept, by prompt
MAX_LOWERED = 16  # rows for what a prompt is without its stretches below 1; beyond them a stretch is only scaled
_NEARLY_NOTHING = 1e-5  # the least weight: there is no tan() of a right angle
_PLACEHOLDER = 0  # any id but the end token's; a vector takes its place

_Row = Sequence[Token]
_T = TypeVar("_T")


@dataclass(frozen=True)
class TextPart:
    """One tokenizer with its text encoder, and what is read from it."""

    name: str  # of the encoder in its pipeline
    tokenizer: Any
    encoder: Any
    layer: int | None = None  # of the hidden states; None is the last one, normalised
    pooled: bool = False  # whether its projection of the whole prompt is wanted too


@dataclass(frozen=True)
class EncodedPrompt:
    """What a prompt becomes."""

    hidden: torch.Tensor  # (1, chunks * 77, the parts' widths together)
    pooled: torch.Tensor | None  # (1, width), of as much as fits one chunk, without weights


class PromptEncoder:
    """Encodes the prompts of one model. Used by one thread at a time."""

    def __init__(
        self,
        parts: Callable[[], Sequence[TextPart]],
        device: torch.device,
        words: Mapping[str, Word] = MappingProxyType({}),
    ) -> None:
        """`words` are what embeddings add to the model's vocabulary."""
        self._parts = parts
        self._device = device
        self._words = dict(words)
        self._vocabulary = Vocabulary({name: word.vectors for name, word in words.items()})
        self._plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()

    def chunks(self, prompt: str) -> int:
        """How many chunks the prompt takes; cheap."""
        return max(len(self._plan(part, prompt).chunks) for part in self._parts())

    def encode(self, prompt: str) -> EncodedPrompt:
        """Encode a prompt now.

        Raises:
            EmbeddingInvalid: when it uses a word whose file can't be used.
        """
        hidden: list[torch.Tensor] = []
        pooled = None
        chunks = self.chunks(prompt)
        for part in self._parts():
            forward, plan = _Forward(part, self._words, self._device), self._plan(part, prompt)
            states, first = _weighted(forward, [*plan.chunks, *((),) * (chunks - len(plan.chunks))])
            hidden.append(states.reshape(1, -1, states.shape[-1]))
            if part.pooled:
                pooled = first[:1] if len(plan.chunks) == 1 else forward([forward.fill(plan.chunks)])[1]
        return EncodedPrompt(torch.cat(hidden, dim=-1), pooled)

    def _plan(self, part: TextPart, prompt: str) -> Plan:
        key = (part.name, prompt)
        if key not in self._plans:
            self._plans[key] = plan_chunks(
                prompt,
                tokenize=lambda text: _word_ids(part.tokenizer, text),
                vocabulary=self._vocabulary,
                chunk_tokens=part.tokenizer.model_max_length,
            )
        self._plans.move_to_end(key)
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)
        return self._plans[key]


def _word_ids(tokenizer: Any, text: str) -> list[list[int]]:
    """The ids of each of a text's words. Never pads or cuts."""
    encoded = tokenizer(text, add_special_tokens=False, verbose=False)
    words: dict[int, list[int]] = {}
    for word, token in zip(encoded.word_ids(), encoded.input_ids, strict=True):
        words.setdefault(word, []).append(token)
    return list(words.values())


def _weighted(forward: _Forward, rows: Sequence[_Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """One encoder's hidden states of all rows (rows, 77, width), and what it returns first, without weights."""
    if all(token.weight == 1 for row in rows for token in row):
        return forward(rows)
    told, first = forward([*rows, ()])  # the last row is the empty prompt
    plain, empty = told[:-1], told[-1:]
    weights = forward.weights(rows).to(plain)
    states = _scaled(plain, empty, weights)
    lowered = _lowered(rows)
    if lowered:
        at = [each.row for each in lowered]
        without, _ = forward([rows[index] for index in at], hidden=[each.fragment for each in lowered])
        differences = _scaled(without, empty, weights[at]) - states[at]
        total = 1 + sum({each.fragment: each.pull for each in lowered}.values())
        for each, difference in zip(lowered, differences, strict=True):
            states[each.row] += difference * (each.pull / total)
    return states, first


def _scaled(states: torch.Tensor, empty: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Each token's difference to the empty prompt, times its weight."""
    return torch.where(weights == 1, states, empty + (states - empty) * weights)


@dataclass(frozen=True)
class _Lowered:
    """A row that a stretch of a weight below 1 has tokens in."""

    row: int
    fragment: int
    pull: float  # of what the prompt is without the stretch, against 1 for what it is with it


def _lowered(rows: Sequence[_Row]) -> list[_Lowered]:
    places: dict[tuple[int, float], dict[int, None]] = {}
    for index, row in enumerate(rows):
        for token in row:
            if token.weight < 1:
                places.setdefault((token.fragment, token.weight), {})[index] = None
    lowered: list[_Lowered] = []
    for (fragment, weight), indices in places.items():
        if len(lowered) + len(indices) <= MAX_LOWERED:
            pull = math.tan((1 - max(weight, _NEARLY_NOTHING)) * math.pi / 2)
            lowered.extend(_Lowered(index, fragment, pull) for index in indices)
    return lowered


class _Forward:
    """One forward of one text encoder over rows of tokens."""

    def __init__(self, part: TextPart, words: Mapping[str, Word], device: torch.device) -> None:
        self._part = part
        self._words = words
        self._device = device
        self._uses_mask = bool(getattr(part.encoder.config, "use_attention_mask", False))

    def __call__(self, rows: Sequence[_Row], *, hidden: Sequence[int | None] = ()) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states (rows, 77, width) and what the encoder returns first.

        Args:
            hidden: for each row the stretch that the other tokens must not see.
        """
        ids = torch.tensor([self._ids(row) for row in rows], device=self._device)
        mask = None
        if hidden or self._uses_mask:
            stretches = hidden or [None] * len(rows)
            masks = [self._mask(row, stretch) for row, stretch in zip(rows, stretches, strict=True)]
            mask = torch.tensor(masks, device=self._device)
        layer = self._part.layer
        with vectors_in_place(self._part.encoder, self._vectors(rows)):
            told = self._part.encoder(ids, attention_mask=mask, output_hidden_states=layer is not None)
        return told[0] if layer is None else told.hidden_states[layer], told[0]

    def fill(self, rows: Sequence[_Row]) -> _Row:
        """As much of the rows as one has room for."""
        return tuple(chain.from_iterable(rows))[: self._part.tokenizer.model_max_length - MARKERS]

    def weights(self, rows: Sequence[_Row]) -> torch.Tensor:
        """(rows, 77, 1)."""
        return torch.tensor([self._spread([token.weight for token in row], 1.0, 1.0) for row in rows]).unsqueeze(-1)

    def _ids(self, row: _Row) -> list[int]:
        tokenizer = self._part.tokenizer
        ids = [_PLACEHOLDER if isinstance(token.meaning, Vector) else token.meaning for token in row]
        return [tokenizer.bos_token_id, *self._spread(ids, tokenizer.eos_token_id, tokenizer.pad_token_id)[1:]]

    def _mask(self, row: _Row, stretch: int | None) -> list[int]:
        seen = [int(token.fragment != stretch) for token in row]
        return self._spread(seen, 1, int(not self._uses_mask))

    def _spread(self, values: list[_T], marker: _T, padding: _T) -> list[_T]:
        """A value for each token, in the places that tokens have: after the start token, before the end token."""
        spread = [marker, *values, marker]
        return spread + [padding] * (self._part.tokenizer.model_max_length - len(spread))

    def _vectors(self, rows: Sequence[_Row]) -> dict[tuple[int, int], torch.Tensor]:
        """The vectors that take tokens' places, by row and place."""
        return {
            (index, place): self._words[token.meaning.word].vector(token.meaning.index, encoder=self._part.name)
            for index, row in enumerate(rows)
            for place, token in enumerate(row, start=1)
            if isinstance(token.meaning, Vector)
        }
