"""Undoes disguises in a text, so that plain lists of words can be matched against it.

A disguise can be undone in more than one way ("1" may stand for i or for l, a hyphen may part two words or split one),
so the result is a few *readings*, each the words of the text with one space round each. Every character of a reading
remembers its place in the original: a finding can point into what the caller wrote. Each step is linear in the text.
Knows no list and no category.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

CONFUSABLES = Path(__file__).parent / "data" / "confusables.txt"
# Eight times the longest prompt. Folding never lengthens a text by more, because of the next limit.
MAX_FOLDED = 16_000
# Only one character decomposes into more: U+FDFA, an Arabic phrase of 18 letters.
MAX_DECOMPOSED = 8
_HIDDEN = frozenset({"Cf", "Mn", "Me", "Cc"})
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800")  # Hangul fillers and the empty Braille cell: letters one can't see
# Possessive, so that no run of digits or spaces is gone over twice.
_WEIGHT = re.compile(r":\s*+[+-]?+(?:\d++(?:\.\d*+)?+|\.\d++)\s*+(?=[)\]])")
_STRETCHED = re.compile(r"([^\W\d_])\1\1")
_MIN_SPELLED = 3  # letters that stand alone, in a row: fewer are initials

_DIGITS = {"0": "o", "3": "e", "4": "a", "5": "s", "6": "g", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s"}
_LEET: Mapping[str, Mapping[str, str]] = {"leet-i": {**_DIGITS, "1": "i"}, "leet-l": {**_DIGITS, "1": "l"}}
_INNER = frozenset("!|")  # read like "1", but only inside a word: at its end they are punctuation


@dataclass(frozen=True)
class Reading:
    """One way to read a text: lower-case words with one space round each."""

    text: str
    places: Sequence[int]  # for each character, its index in the original
    stretched: bytes = b""  # for readings with runs of a letter collapsed: 1 for characters of words that had a run

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters [start, end) stand in the original."""
        return self.places[start], self.places[end - 1] + 1


@dataclass(frozen=True)
class NormalisedText:
    """All readings of a text, by what may be matched in them."""

    words: tuple[Reading, ...]  # whole words; the first is the text as it stands
    collapsed: tuple[Reading, ...]  # runs of one letter collapsed: whole words, against collapsed terms
    spelled: tuple[Reading, ...]  # single letters in a row, joined: terms may start and end anywhere inside


@dataclass(frozen=True)
class _Folded:
    """A text as parallel lists: each character in its own script, as the Latin letter it looks like, and its place."""

    native: list[str]
    latin: list[str]
    places: list[int]


_Word = list[int]  # indices into the folded lists


class Normaliser:
    """Reads texts with one table of look-alikes, which it loads when built."""

    def __init__(self, confusables: Path = CONFUSABLES) -> None:
        self._confusables = _read_confusables(confusables)

    def normalise(self, text: str) -> NormalisedText:
        """Give every reading of a text.

        Raises:
            ValueError: the folded text is longer than any accepted prompt can become.
        """
        folded = _without_weights(self._fold(text))
        if len(folded.native) > MAX_FOLDED:
            raise ValueError(f"the text has more than {MAX_FOLDED} characters after normalisation")
        words: dict[str, Reading] = {}
        spelled: dict[str, Reading] = {}
        for letters in _alphabets(folded):
            pieces = _Pieces(letters)
            for way in (pieces.apart, pieces.glued):
                _add(words, _reading(way, letters, folded))
            _add(spelled, _reading(pieces.spelled, letters, folded))
        collapsed = (_collapse(reading) for reading in words.values() if _STRETCHED.search(reading.text))
        return NormalisedText(tuple(words.values()), tuple(collapsed), tuple(spelled.values()))

    def _fold(self, text: str) -> _Folded:
        """Decompose (NFKD: what NFKC folds, and accents apart), drop what can't be seen, fold case and look-alikes."""
        folded = _Folded([], [], [])
        for place, original in enumerate(text):
            for char in unicodedata.normalize("NFKD", original)[:MAX_DECOMPOSED]:
                if char.isspace():
                    self._append(folded, " ", " ", place)
                elif unicodedata.category(char) not in _HIDDEN and char not in _BLANK_LETTERS:
                    look_alike = self._confusables.get(char)
                    for letter in char.casefold():
                        latin = look_alike or self._confusables.get(letter, letter)
                        self._append(folded, letter, latin, place)
        return folded

    @staticmethod
    def _append(folded: _Folded, native: str, latin: str, place: int) -> None:
        folded.native.append(native)
        folded.latin.append(latin)
        folded.places.append(place)


class _Pieces:
    """Runs of letters and digits, and the three ways to make words of them."""

    def __init__(self, letters: Sequence[str]) -> None:
        self.apart: list[_Word] = []
        self._after_space: list[bool] = []
        spaced = inside = False
        for index, letter in enumerate(letters):
            if letter.isalnum():
                if inside:
                    self.apart[-1].append(index)
                else:
                    self.apart.append([index])
                    self._after_space.append(spaced)
                inside, spaced = True, False
            else:
                inside = False
                spaced = spaced or letter == " "

    @cached_property
    def glued(self) -> list[_Word]:
        """Words parted by white space alone: "s-p-l.i-t" is one."""
        words: list[_Word] = []
        for piece, spaced in zip(self.apart, self._after_space, strict=True):
            if words and not spaced:
                words[-1].extend(piece)
            else:
                words.append(list(piece))
        return words

    @cached_property
    def spelled(self) -> list[_Word]:
        """Single letters in a row, each row as one word."""
        rows: list[_Word] = [[]]
        for piece in self.apart:
            if len(piece) == 1:
                rows[-1].extend(piece)
            elif rows[-1]:
                rows.append([])
        return [row for row in rows if len(row) >= _MIN_SPELLED]


def _read_confusables(path: Path) -> Mapping[str, str]:
    table = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            letter, _, look_alikes = line.partition(" ")
            table.update(dict.fromkeys(look_alikes, letter))
    return table


def _without_weights(folded: _Folded) -> _Folded:
    """Take the number out of `(word:1.3)`; the brackets themselves part words like other punctuation."""
    text = "".join(folded.native)
    if ":" not in text:
        return folded
    kept: list[int] = []
    start = 0
    for weight in _WEIGHT.finditer(text):
        kept.extend(range(start, weight.start()))
        start = weight.end()
    kept.extend(range(start, len(text)))
    return _Folded(
        native=[folded.native[index] for index in kept],
        latin=[folded.latin[index] for index in kept],
        places=[folded.places[index] for index in kept],
    )


def _alphabets(folded: _Folded) -> Iterator[list[str]]:
    """The folded text in each alphabet that reads differently: own script, Latin look-alikes, leet."""
    yield folded.native
    if folded.latin != folded.native:
        yield folded.latin
    if not any(letter in _DIGITS or letter in _INNER or letter == "1" for letter in folded.latin):
        return
    for table in _LEET.values():
        yield _unleet(folded.latin, table)


def _unleet(latin: Sequence[str], table: Mapping[str, str]) -> list[str]:
    """Read digits and signs as letters, where the run of characters they stand in has a letter too."""
    one = table["1"]
    letters = [table.get(letter, letter) for letter in latin]
    for index in range(1, len(latin) - 1):
        if latin[index] in _INNER and latin[index - 1].isalnum() and latin[index + 1].isalnum():
            letters[index] = one
    for word in _Pieces(letters).glued:
        # A number stays a number; one digit by itself may belong to a row of single letters.
        if len(word) > 1 and not any(latin[index].isalpha() for index in word):
            for index in word:
                letters[index] = latin[index]
    return letters


def _reading(words: Iterable[_Word], letters: Sequence[str], folded: _Folded) -> Reading:
    text = [" "]
    places = [0]
    for word in words:
        text.extend(letters[index] for index in word)
        places.extend(folded.places[index] for index in word)
        text.append(" ")
        places.append(places[-1])
    return Reading("".join(text), places)


def _add(readings: dict[str, Reading], reading: Reading) -> None:
    """Keep a reading unless an earlier one reads the same."""
    if not reading.text.isspace():
        readings.setdefault(reading.text, reading)


def _collapse(reading: Reading) -> Reading:
    """Write every run of one letter once, and mark the words that had a run of three or more."""
    text = [" "]
    places = [0]
    stretched = bytearray(1)
    start = 1
    for word in reading.text.split():
        mark = 1 if _STRETCHED.search(word) else 0
        for index, letter in enumerate(word, start):
            if letter != text[-1]:
                text.append(letter)
                places.append(reading.places[index])
                stretched.append(mark)
        start += len(word) + 1
        text.append(" ")
        places.append(places[-1])
        stretched.append(0)
    return Reading("".join(text), places, bytes(stretched))


def collapse(term: str) -> str:
    """A term as it stands in collapsed readings."""
    return re.sub(r"(.)\1+", r"\1", term)
