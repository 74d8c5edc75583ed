"""Misspellings of a listed phrase that people still read: letters swapped, vowels left out, written backwards.

They are made from the list once, so that a text is searched for them without further readings of it. What is an
ordinary word by itself ("ogre") is no misspelling of another one. A backwards phrase is written on purpose; the others
might be chance and count as a guess.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

ORDINARY_WORDS = Path(__file__).parents[1] / "data" / "ordinary.txt"
_MIN_SWAPPED = 4  # letters of a word
_MIN_DROPPED = 3  # letters left of a phrase without its vowels
_MIN_SHORTENED = 4  # letters left of a word without one of its vowels
_MIN_REVERSED = 4
_VOWELS = frozenset("aeiou")


def load_ordinary_words(path: Path = ORDINARY_WORDS) -> frozenset[str]:
    """Words that are never read as another word in disguise."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def guesses(phrase: str, ordinary: Collection[str]) -> Iterator[str]:
    """The phrase with two neighbouring letters swapped, or without vowels."""
    words = phrase.split(" ")
    for index, word in enumerate(words):
        for variant in {*_swapped(word), *_shortened(word)}:
            if variant not in ordinary:
                yield " ".join([*words[:index], variant, *words[index + 1 :]])
    for without in {
        " ".join(map(_without_vowels, words)),
        " ".join(word[0] + _without_vowels(word[1:]) for word in words),
    }:
        if without != phrase and len(without.replace(" ", "")) >= _MIN_DROPPED and without not in ordinary:
            yield without


def reversed_phrase(phrase: str, ordinary: Collection[str]) -> str | None:
    """The phrase backwards, unless that is a word as well."""
    backwards = phrase[::-1]
    if len(phrase) < _MIN_REVERSED or backwards == phrase or backwards in ordinary:
        return None
    return backwards


def _swapped(word: str) -> Iterator[str]:
    if len(word) >= _MIN_SWAPPED:
        for index in range(len(word) - 1):
            if word[index] != word[index + 1]:
                yield word[:index] + word[index + 1] + word[index] + word[index + 2 :]


def _shortened(word: str) -> Iterator[str]:
    if len(word) > _MIN_SHORTENED:
        for index, letter in enumerate(word):
            if letter in _VOWELS:
                yield word[:index] + word[index + 1 :]


def _without_vowels(word: str) -> str:
    # A word of vowels alone keeps them: it would be gone.
    return "".join(letter for letter in word if letter not in _VOWELS) or word
