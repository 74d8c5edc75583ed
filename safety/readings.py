"""One way to read a text: its words, and for each the place in the original that it was written in.

Words are made of *pieces*, the runs of letters and digits between which stand spaces or punctuation: each piece a word,
pieces parted by white space alone as one ("s-p-l.i-t"), or all pieces without gaps. A reading knows its words' places,
not each letter's, because terms match whole words. Knows no disguise of letters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

_PIECE = re.compile(r"[^\W_]+")
_STRETCHED = re.compile(r"([^\W\d_])\1\1")
_RUN = re.compile(r"(.)\1+")
NO_WORD = "|"  # stands between parts that belong to no common phrase


@dataclass(frozen=True)
class Pieces:
    """The runs of letters and digits of a text, as parallel lists: a text may have thousands."""

    texts: Sequence[str]
    begins: Sequence[int]  # where each begins in the original
    ends: Sequence[int]
    after_space: Sequence[bool]
    ones: bool = False  # the letters are those of an alphabet without i: "1" and i are both written l

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Reading:
    """One way to read a text: lower-case words with one space round each (or none at all, if joined)."""

    text: str
    starts: Sequence[int]  # where each word starts in `text`
    begins: Sequence[int]  # where it begins in the original
    ends: Sequence[int]
    ones: bool = False  # as of its pieces
    stretched: frozenset[int] | None = None  # for collapsed readings: the words that had a run of a letter

    def words_at(self, start: int, end: int) -> range:
        """Which words the characters [start, end) of this reading lie in."""
        return range(bisect_right(self.starts, start) - 1, bisect_right(self.starts, end - 1))

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where the words that hold [start, end) stand in the original."""
        words = self.words_at(start, end)
        return self.begins[words[0]], self.ends[words[-1]]

    def pieces_at(self, start: int, end: int) -> list[str] | None:
        """In a joined reading, the pieces that make up [start, end), unless it begins or ends inside one."""
        words = self.words_at(start, end)
        bounds = self.starts[words.start : words.stop]
        after = self.starts[words.stop] if words.stop < len(self.starts) else len(self.text)
        if bounds[0] != start or after != end:
            return None
        return [self.text[low:high] for low, high in zip(bounds, [*bounds[1:], end], strict=True)]


def pieces_of(letters: str, places: Sequence[int], *, ones: bool = False) -> Pieces:
    """The pieces of a folded text, whose characters stand at `places` in the original."""
    texts: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    after_space: list[bool] = []
    last = 0
    for match in _PIECE.finditer(letters):
        start, end = match.span()
        texts.append(match[0])
        begins.append(places[start])
        ends.append(places[end - 1] + 1)
        after_space.append(start == 0 or " " in letters[last:start])
        last = end
    return Pieces(texts, begins, ends, after_space, ones)


def apart(pieces: Pieces) -> Reading:
    """Each piece a word."""
    return _reading(pieces.texts, pieces.begins, pieces.ends, ones=pieces.ones)


def glued(pieces: Pieces) -> Reading:
    """Words parted by white space alone: "s-p-l.i-t" is one."""
    if all(pieces.after_space):
        return apart(pieces)
    firsts = [index for index, parted in enumerate(pieces.after_space) if parted or not index]
    bounds = list(zip(firsts, [*firsts[1:], len(pieces)], strict=True))
    return _reading(
        ["".join(pieces.texts[low:high]) for low, high in bounds],
        [pieces.begins[low] for low, _ in bounds],
        [pieces.ends[high - 1] for _, high in bounds],
        ones=pieces.ones,
    )


def joined(pieces: Pieces) -> Reading:
    """All pieces without gaps."""
    starts = list(accumulate(map(len, pieces.texts), initial=0))[:-1]
    return Reading("".join(pieces.texts), starts, pieces.begins, pieces.ends, pieces.ones)


def joined_across(first: Pieces, second: Pieces, size: int) -> tuple[Reading, int] | None:
    """The last pieces of one text and the first of another, with the offset where the two meet."""
    low = max(0, len(first) - size)
    texts = [*first.texts[low:], *second.texts[:size]]
    if not first.texts or not second.texts:
        return None
    starts = list(accumulate(map(len, texts), initial=0))
    begins = [*first.begins[low:], *second.begins[:size]]
    ends = [*first.ends[low:], *second.ends[:size]]
    return Reading("".join(texts), starts[:-1], begins, ends, first.ones), starts[len(first) - low]


def marked(parts: Iterable[tuple[Sequence[str], int, int]]) -> Reading:
    """The words of several parts, each part with one place for all of its words."""
    words: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    for part, start, end in parts:
        words += [*part, NO_WORD]
        begins += [start] * (len(part) + 1)
        ends += [end] * (len(part) + 1)
    return _reading(words, begins, ends)


def collapsed(reading: Reading) -> Reading | None:
    """The reading with each run of one letter written once, if a word of it has a run of three or more."""
    if not _STRETCHED.search(reading.text):
        return None
    words = reading.text.split()
    stretched = frozenset(index for index, word in enumerate(words) if _STRETCHED.search(word))
    return _reading(
        [collapse(word) for word in words], reading.begins, reading.ends, ones=reading.ones, stretched=stretched
    )


def collapse(term: str) -> str:
    """A term as it stands in collapsed readings."""
    return _RUN.sub(r"\1", term)


def _reading(
    words: Sequence[str],
    begins: Sequence[int],
    ends: Sequence[int],
    *,
    ones: bool = False,
    stretched: frozenset[int] | None = None,
) -> Reading:
    starts = list(accumulate([len(word) + 1 for word in words], initial=1))[:-1]
    return Reading(f" {' '.join(words)} ", starts, begins, ends, ones, stretched)
