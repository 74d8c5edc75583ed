"""Finds many phrases at once in all readings of a text (Aho-Corasick), disguised or not.

The time does not grow with the number of phrases. Each phrase belongs to a topic and has a score; a benign one has
none. What is found says where it stands and what it means; whether it counts is for others to say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import ahocorasick

from darkroom.errors import ConfigurationError
from safety.normalise import NormalisedText, Normaliser
from safety.prompt.variants import guesses, reversed_phrase
from safety.readings import Reading, collapse

GUESS_SCORE = 0.7  # at most: swapped letters and missing vowels may be chance, so a person should look
_MIN_JOINED = 4  # letters that a phrase must have to be found with its spaces left out, or in pieces
_MIN_SPELLED = 3  # letters, each a piece of its own


@dataclass(frozen=True)
class Entry:
    """A phrase of a topic; `score` is None for a benign one."""

    topic: str
    score: float | None
    phrase: str  # normalised, as listed
    guess: bool = False


@dataclass(frozen=True)
class Match:
    """A phrase found, and its place in the original."""

    entry: Entry
    start: int
    end: int


_String = tuple[str, Entry]  # as it stands in a reading, and what it means


class PhraseIndex:
    """The phrases of a process. Built once, read by many threads."""

    def __init__(self, entries: Iterable[Entry], ordinary: Collection[str]) -> None:
        listed = list(dict.fromkeys(entries))
        # What one list names, another must not take for its own word misspelt.
        self._ordinary = frozenset(ordinary) | {entry.phrase for entry in listed}
        together = [
            replace(entry, phrase=entry.phrase.replace(" ", ""))
            for entry in listed
            if entry.score is not None and " " in entry.phrase and len(entry.phrase.replace(" ", "")) >= _MIN_JOINED
        ]
        plain = [(entry.phrase, entry) for entry in listed]
        glued = [(entry.phrase, entry) for entry in together]
        variants = list(self._variants(listed))
        self._searches = {
            False: _Searches(plain, glued, variants, self._ordinary),
            True: _Searches(
                _with_ones(plain), _with_ones(glued), _with_ones(variants), {_ones(word) for word in self._ordinary}
            ),
        }

    def matches(self, text: NormalisedText) -> Iterator[Match]:
        """Every phrase of a text, benign ones too, in no order, some more than once."""
        for reading in text.words:
            for start, end, entry in self._searches[reading.ones].whole.find(reading.text):
                yield Match(entry, *reading.span(start + 1, end - 1))
        for reading in text.collapsed:
            for start, end, entry in self._searches[reading.ones].collapsed.find(reading.text):
                # The words that were not stretched stand unchanged in a reading of their own.
                if reading.stretched and not reading.stretched.isdisjoint(reading.words_at(start + 1, end - 1)):
                    yield Match(entry, *reading.span(start + 1, end - 1))
        for reading in text.joined:
            for start, end, entry in self._searches[reading.ones].in_pieces(reading):
                yield Match(entry, *reading.span(start, end))

    def matches_across(self, seams: Iterable[tuple[Reading, int]]) -> Iterator[tuple[Entry, int]]:
        """Phrases with a word that begins in one text and ends in the next, and where they begin."""
        for reading, seam in seams:
            for start, end, entry in self._searches[reading.ones].in_pieces(reading):
                inside = start < seam < end and seam - start not in _breaks(entry.phrase)
                if inside and entry.score is not None:
                    yield entry, reading.span(start, end)[0]

    def _variants(self, listed: Sequence[Entry]) -> Iterator[_String]:
        for entry in listed:
            if entry.score is None or not entry.phrase.isascii():
                continue
            guess = replace(entry, score=min(entry.score, GUESS_SCORE), guess=True)
            yield from ((variant, guess) for variant in guesses(entry.phrase, self._ordinary))
            backwards = reversed_phrase(entry.phrase, self._ordinary)
            if backwards:
                yield backwards, entry


class _Searches:
    """The strings to look for in one alphabet, by the kind of reading they are looked for in."""

    def __init__(
        self,
        plain: Sequence[_String],
        glued: Sequence[_String],
        variants: Sequence[_String],
        ordinary: Collection[str],
    ) -> None:
        self._ordinary = ordinary
        self.whole = _Automaton((f" {text} ", entry) for text, entry in [*plain, *glued, *variants])
        self.collapsed = _Automaton((f" {collapse(text)} ", entry) for text, entry in [*plain, *glued])
        self._joined = _Automaton((text.replace(" ", ""), entry) for text, entry in plain)

    def in_pieces(self, reading: Reading) -> Iterator[tuple[int, int, Entry]]:
        """Phrases that several whole pieces make up, of which not all are words by themselves."""
        for start, end, entry in self._joined.find(reading.text):
            if self._is_in_pieces(reading, start, end):
                yield start, end, entry

    def _is_in_pieces(self, reading: Reading, start: int, end: int) -> bool:
        pieces = reading.pieces_at(start, end)
        if pieces is None or len(pieces) < 2:
            return False
        if end - start == len(pieces):
            return len(pieces) >= _MIN_SPELLED
        return end - start >= _MIN_JOINED and any(piece not in self._ordinary for piece in pieces)


class _Automaton:
    """Finds all of many strings in one pass."""

    def __init__(self, strings: Iterable[_String]) -> None:
        found: dict[str, set[Entry]] = {}
        for text, entry in strings:
            found.setdefault(text, set()).add(entry)
        self._automaton = ahocorasick.Automaton()
        for text, entries in found.items():
            self._automaton.add_word(text, (len(text), tuple(entries)))
        self._automaton.make_automaton()

    def find(self, text: str) -> Iterator[tuple[int, int, Entry]]:
        if not len(self._automaton):
            return
        for last, (length, entries) in self._automaton.iter(text):
            for entry in entries:
                yield last + 1 - length, last + 1, entry


def phrase_of(term: str, normaliser: Normaliser) -> str:
    """A listed term as it stands in a reading: its words, or the name of an emoji.

    Raises:
        ConfigurationError: the term has no letter, digit or named sign.
    """
    readings = normaliser.normalise(term).words
    words = [word for word in readings[0].text.split() if word.isalnum()] if readings else []
    if not words:
        raise ConfigurationError(f"the word list entry {term!r} holds no letter or digit")
    return " ".join(words)


def _breaks(phrase: str) -> set[int]:
    """Where the words of a phrase begin once its spaces are left out."""
    return {index - phrase[:index].count(" ") for index, letter in enumerate(phrase) if letter == " "}


def _ones(text: str) -> str:
    """A text in the alphabet that writes i as l."""
    return text.replace("i", "l")


def _with_ones(strings: Iterable[_String]) -> list[_String]:
    return [(_ones(text), entry) for text, entry in strings]
