"""Cuts a prompt into the chunks that a text encoder reads: 75 tokens each, between a start and an end token.

Words are not cut in two, and a short stretch with a weight of its own stays in one chunk. What an embedding adds to a
model's vocabulary counts with all its vectors. The engine encodes such a plan and the API only counts it, so both agree
on what is read. Knows no tokenizer: the caller says which ids a text's words have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from darkroom.prompt_syntax import Fragment, parse_prompt

MAX_CHUNKS = 8  # of a prompt; what comes after them is not read
CHUNK_TOKENS = 77  # of CLIP's text encoders, start and end token included
MARKERS = 2  # start and end token
WHOLE_TOKENS = 20  # a weighted stretch up to this long is not cut in two

Tokenize = Callable[[str], Sequence[Sequence[int]]]  # the token ids of each of a text's words


@dataclass(frozen=True)
class Vector:
    """One of the vectors that an embedding stands for, in a token's place."""

    word: str
    index: int


@dataclass(frozen=True)
class Token:
    """One place in a chunk."""

    meaning: int | Vector  # an id of the model's vocabulary, or what an embedding puts there
    weight: float
    fragment: int  # number of the stretch of one weight that it stands in


@dataclass(frozen=True)
class Plan:
    """How a prompt is read."""

    chunks: tuple[tuple[Token, ...], ...]  # without start and end tokens; at least one, which may be empty
    tokens: int  # of the whole prompt, its start and end token included

    @property
    def cut(self) -> bool:
        """Whether the prompt goes on where the last chunk ends."""
        return self.tokens > sum(map(len, self.chunks)) + MARKERS


class Vocabulary:
    """The words that embeddings add to a model's own: whole words, in capitals or not."""

    def __init__(self, vectors: Mapping[str, int]) -> None:
        """`vectors` says how many vectors each word stands for."""
        self._entries = sorted(vectors.items(), key=lambda entry: len(entry[0]), reverse=True)  # the longest word wins
        groups = (f"({_whole(word)})" for word, _ in self._entries)
        self._pattern = re.compile("|".join(groups), re.IGNORECASE) if self._entries else None

    def split(self, text: str) -> Iterator[str | tuple[Vector, ...]]:
        """The text's stretches, and the vectors that stand between them."""
        start = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            assert match.lastindex is not None, "each word of the pattern is a group"
            word, vectors = self._entries[match.lastindex - 1]
            yield text[start : match.start()]
            yield tuple(Vector(word, index) for index in range(vectors))
            start = match.end()
        yield text[start:]


NO_WORDS = Vocabulary({})


def plan_chunks(
    prompt: str, *, tokenize: Tokenize, vocabulary: Vocabulary = NO_WORDS, chunk_tokens: int = CHUNK_TOKENS
) -> Plan:
    """Read the prompt's syntax and cut it into chunks; those beyond MAX_CHUNKS are left out."""
    room = chunk_tokens - MARKERS
    chunks: list[list[Token]] = [[]]
    for unit in _units(parse_prompt(prompt), tokenize, vocabulary):
        if len(chunks[-1]) + len(unit) > room and chunks[-1]:
            chunks.append([])
        for start in range(0, len(unit), room):  # a word longer than a chunk is cut all the same
            if start:
                chunks.append([])
            chunks[-1].extend(unit[start : start + room])
    tokens = sum(map(len, chunks)) + MARKERS
    return Plan(tuple(map(tuple, chunks[:MAX_CHUNKS])), tokens)


def _units(fragments: Sequence[Fragment], tokenize: Tokenize, vocabulary: Vocabulary) -> Iterator[list[Token]]:
    """The prompt's tokens in pieces that should not be cut."""
    for number, fragment in enumerate(fragments):
        words = [
            [Token(meaning, fragment.weight, number) for meaning in word]
            for stretch in vocabulary.split(fragment.text)
            for word in (tokenize(stretch) if isinstance(stretch, str) else [stretch])
        ]
        whole = [token for word in words for token in word]
        if fragment.weight != 1 and len(whole) <= WHOLE_TOKENS:
            yield whole
        else:
            yield from words


def _whole(word: str) -> str:
    """A pattern for the word where it is not part of a longer one."""
    before = r"(?<!\w)" if re.match(r"\w", word) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", word) else ""
    return before + re.escape(word) + after
