"""Undoes disguises in a text, so that plain lists of words can be matched against it.

A disguise can be undone in more than one way ("1" may stand for i or for l, a hyphen may part two words or split one),
so the result is a few *readings*, each the words of the text in one alphabet. `readings.py` has their shapes,
`encoded.py` those that need decoding. Each step is linear in the text, and a text that unfolds into far more than was
written is cut back at the character that does it. Knows no list and no category.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safety.encoded import decode_base64, name_emoji
from safety.readings import Pieces, Reading, apart, collapsed, glued, joined, joined_across, marked, pieces_of

CONFUSABLES = Path(__file__).parent / "data" / "confusables.txt"
# Letters that one character may become. Longer ones are phrases in one sign ("㋿" to U+FDFA); their head tells enough.
MAX_UNFOLDED = 4
MAX_TEXT = 8_000  # characters; four times the longest prompt
SEAM_PIECES = 32  # pieces on either side of the place where two texts meet
_CACHED_CHARACTERS = 8_192
_HIDDEN = frozenset({"Cf", "Mn", "Me", "Cc", "Cs"})
# Hangul fillers and the empty Braille cell, which one can't see, and the Arabic stroke that only lengthens a word.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u0640")
_APOSTROPHES = frozenset(map(chr, range(0x2B9, 0x2E0)))  # modifier letters that look like marks, not like letters
_SPACED_MARKS = frozenset("\u037a")  # looks like an iota, decomposes into a space and a mark
_HANGUL = range(0xAC00, 0xD7A4)  # whole syllables, which decomposition would only make longer
# What a letter's official name says of its shape: "LATIN SMALL LETTER B WITH HOOK", "NEGATIVE SQUARED LATIN CAPITAL
# LETTER Q", "REGIONAL INDICATOR SYMBOL LETTER P".
_NAMED_LETTER = re.compile(
    r"(?:LATIN|INDICATOR SYMBOL)(?: SMALL CAPITAL| SMALL| CAPITAL)? LETTER "
    r"(?:(?:SMALL CAPITAL|SMALL|TURNED|REVERSED|SIDEWAYS|OPEN|CLOSED|DOTLESS|LONG|BARRED|SCRIPT|INSULAR|BROAD) )*"
    r"([A-Z])(?: WITH .*)?$"
)
# Possessive, so that no run of digits or spaces is gone over twice.
_WEIGHT = re.compile(r":\s*+[+-]?+(?:\d++(?:\.\d*+)?+|\.\d++)\s*+(?=[)\]])")

# Digits and signs that stand for letters. "1" may be i or l, and so may a capital I: the leet alphabet has no i.
_LEET = str.maketrans("013456789$@i", "oleasgtbgsal")
_INNER = {"!": "l", "|": "l", "+": "t"}  # letters inside a word; at its end, punctuation
_INNER_SIGN = re.compile(r"(?<=[^\W_])[!|+](?=[^\W_])")
_OUTER_SIGN = re.compile(r"(?<=[^\W_])[!|](?![!|\w])|(?<![!|\w])[!|](?=[^\W_])")  # alone at a word's end
_CHUNK = re.compile(r"\S+")
_LETTER = re.compile(r"[^\W\d_]")
_LETTERS = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class _Folded:
    """A text twice, each character in its own script and as the Latin letter it looks like, and all their places."""

    native: str
    latin: str
    places: Sequence[int]


@dataclass(frozen=True)
class NormalisedText:
    """All readings of a text, by what may be matched in them."""

    words: tuple[Reading, ...]  # whole words; the first is the text as it stands
    collapsed: tuple[Reading, ...]  # runs of one letter collapsed: whole words, against collapsed terms
    joined: tuple[Reading, ...]  # all pieces without gaps: terms may span several whole pieces
    length: int  # of the text
    alphabets: tuple[Pieces, ...]  # each way to read the letters; the first is the text as it stands


class Normaliser:
    """Reads texts with one table of look-alikes, which it loads when built."""

    def __init__(self, confusables: Path = CONFUSABLES) -> None:
        table = _read_confusables(confusables)
        self._unfold: Callable[[str], tuple[str, str]] = lru_cache(_CACHED_CHARACTERS)(
            lambda char: _unfold(char, table)
        )

    def normalise(self, text: str) -> NormalisedText:
        """Give every reading of a text.

        Raises:
            ValueError: the text is longer than any that the service takes.
        """
        if len(text) > MAX_TEXT:
            raise ValueError(f"the text has more than {MAX_TEXT} characters")
        folded = _without_weights(self._fold(text))
        alphabets = [
            *(pieces_of(letters, folded.places) for letters in _alphabets(folded)),
            *(pieces_of(letters, folded.places, ones=True) for letters in _leet_alphabets(folded.latin, text)),
        ]
        words: dict[tuple[str, bool], Reading] = {}
        solid: dict[tuple[str, bool], Reading] = {}
        for pieces in alphabets:
            _add(words, apart(pieces))
            _add(words, glued(pieces))
            _add(solid, joined(pieces))
        stretched = [reading for reading in map(collapsed, words.values()) if reading is not None]
        for reading in self._encoded(text):
            _add(words, reading)
        return NormalisedText(
            tuple(words.values()), tuple(stretched), tuple(solid.values()), len(text), tuple(alphabets)
        )

    def seam(self, first: NormalisedText, second: NormalisedText) -> list[tuple[Reading, int]]:
        """The end of a text and the start of another as one, in each alphabet, with the offset where they meet."""
        seams: dict[tuple[str, bool], tuple[Reading, int]] = {}
        for before, after in _pairs(first.alphabets, second.alphabets):
            seam = joined_across(before, after, SEAM_PIECES)
            if seam is not None:
                seams.setdefault((seam[0].text, before.ones), seam)
        return list(seams.values())

    def _encoded(self, text: str) -> Iterator[Reading]:
        """Readings of what stands for words without being them: emoji by their names, base64 decoded."""
        named = [] if text.isascii() else list(name_emoji(text))
        for found in (named, list(decode_base64(text))):
            if found:
                yield marked(
                    (_PLAIN_WORDS.findall(self._fold(meaning).latin), start, end) for meaning, start, end in found
                )

    def _fold(self, text: str) -> _Folded:
        """Decompose (NFKD: what NFKC folds, and accents apart), drop what can't be seen, fold case and look-alikes."""
        if text.isascii() and text.isprintable():
            lowered = text.lower()
            return _Folded(lowered, lowered, range(len(text)))
        native: list[str] = []
        latin: list[str] = []
        places: list[int] = []
        for place, char in enumerate(text):
            own, look_alike = self._unfold(char)
            native.append(own)
            latin.append(look_alike)
            places.extend([place] * len(own))
        return _Folded("".join(native), "".join(latin), places)


_PLAIN_WORDS = re.compile(r"[^\W_]+")


def _read_confusables(path: Path) -> Mapping[str, str]:
    table = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            letter, _, look_alikes = line.partition(" ")
            table.update(dict.fromkeys(look_alikes, letter))
    return table


def _unfold(original: str, confusables: Mapping[str, str]) -> tuple[str, str]:
    """One character as the letters it stands for: in its own script, and in Latin; both of one length."""
    if original in _APOSTROPHES:
        return "'", "'"
    whole = ord(original) in _HANGUL or original in _SPACED_MARKS
    decomposed = original if whole else unicodedata.normalize("NFKD", original)
    native: list[str] = []
    latin: list[str] = []
    for char in decomposed:
        if char.isspace():
            native.append(" ")
            latin.append(" ")
        elif unicodedata.category(char) not in _HIDDEN and char not in _BLANK_LETTERS:
            look_alike = confusables.get(char) or _named_letter(char)
            for letter in char.casefold():
                native.append(letter)
                latin.append(look_alike or confusables.get(letter, letter))
    return "".join(native[:MAX_UNFOLDED]), "".join(latin[:MAX_UNFOLDED])


def _named_letter(char: str) -> str | None:
    """The plain letter that a character's name tells of, for those that don't decompose."""
    if char.isascii():
        return None
    named = _NAMED_LETTER.search(unicodedata.name(char, ""))
    return named[1].lower() if named else None


def _without_weights(folded: _Folded) -> _Folded:
    """Take the number out of `(word:1.3)`; the brackets themselves part words like other punctuation."""
    if ":" not in folded.native:
        return folded
    native: list[str] = []
    latin: list[str] = []
    places: list[int] = []
    start = 0
    for end, after in [*((weight.start(), weight.end()) for weight in _WEIGHT.finditer(folded.native)), (None, 0)]:
        native.append(folded.native[start:end])
        latin.append(folded.latin[start:end])
        places.extend(folded.places[start:end])
        start = after
    return _Folded("".join(native), "".join(latin), places)


def _alphabets(folded: _Folded) -> Iterator[str]:
    """The folded text in each alphabet that reads differently: own script, Latin look-alikes."""
    yield folded.native
    if folded.latin != folded.native:
        yield folded.latin


def _leet_alphabets(latin: str, original: str) -> Iterator[str]:
    """The text with digits and signs as letters, if it may hold such; once more with signs at the ends of words."""
    capitals = "I" in original or not original.isascii()
    leet = _unleet(latin)
    if leet != latin and (capitals or leet != latin.replace("i", "l")):
        yield leet
    outer = _OUTER_SIGN.sub("l", latin)
    if outer != latin:
        yield _unleet(outer)


def _unleet(latin: str) -> str:
    """Read digits and signs as letters, where the run of characters they stand in has a letter too."""

    def read(chunk: re.Match[str]) -> str:
        text = chunk[0]
        # A number stays a number; one digit by itself may belong to a row of single letters.
        if not _LETTER.search(text) and len(_LETTERS.findall(text.translate(_LEET))) > 1:
            return text
        return _INNER_SIGN.sub(lambda sign: _INNER[sign[0]], text.translate(_LEET))

    return _CHUNK.sub(read, latin)


def _pairs(first: Sequence[Pieces], second: Sequence[Pieces]) -> Iterator[tuple[Pieces, Pieces]]:
    """The alphabets of two texts, like with like; where one text has fewer, its first stands in."""
    for ones in (False, True):
        before = [pieces for pieces in first if pieces.ones is ones]
        after = [pieces for pieces in second if pieces.ones is ones]
        for index in range(max(len(before), len(after))) if before and after else ():
            yield before[min(index, len(before) - 1)], after[min(index, len(after) - 1)]


def _add(readings: dict[tuple[str, bool], Reading], reading: Reading) -> None:
    """Keep a reading unless an earlier one reads the same."""
    if reading.begins:
        readings.setdefault((reading.text, reading.ones), reading)
