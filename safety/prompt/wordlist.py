"""Matches lists of words against a request's texts, whole words only, through every reading of the normaliser.

All terms of all lists go through the text at once (Aho-Corasick), so the time does not grow with the lists. A match
inside a benign phrase of the same category ("chicken breast") does not count. The negative prompt is searched like the
prompt and its findings say where they stand; the policy exempts categories there, because people name in it what
they do *not* want to see, and a word like "gore" in it is no reason to refuse. Findings never quote a list entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import ahocorasick

from darkroom.errors import ConfigurationError
from safety.normalise import NormalisedText, Normaliser, Reading, collapse
from safety.prompt.lists import WordList
from safety.subjects import PromptSubject
from safety.verdict import Category, Finding, PromptField, Stage

MAX_FINDINGS = 64  # of one text; the highest scores are kept
_MIN_JOINED = (
    4  # letters that a phrase must have to be found with its spaces left out, or inside a row of single letters
)


@dataclass(frozen=True)
class _Entry:
    """What a listed phrase means; `score` is None for a benign one."""

    category: Category
    score: float | None


@dataclass(frozen=True)
class _Match:
    entry: _Entry
    start: int  # in the original
    end: int


class WordListCheck:
    """Finds listed terms in the prompt and the negative prompt."""

    name = "prompt_wordlist"
    stage = Stage.PROMPT

    def __init__(self, lists: Sequence[WordList]) -> None:
        self._normaliser = Normaliser()
        entries = list(self._entries(lists))
        joined = [(phrase.replace(" ", ""), entry) for phrase, entry in entries]
        joined = [(phrase, entry) for phrase, entry in joined if len(phrase) >= _MIN_JOINED]
        self._whole = _Automaton((f" {phrase} ", entry) for phrase, entry in entries + joined)
        self._collapsed = _Automaton((f" {collapse(phrase)} ", entry) for phrase, entry in entries + joined)
        self._inside = _Automaton(joined)

    def run(self, subject: PromptSubject) -> list[Finding]:
        return [
            *self._search(subject.prompt, PromptField.PROMPT),
            *self._search(subject.negative_prompt, PromptField.NEGATIVE_PROMPT),
        ]

    def _entries(self, lists: Sequence[WordList]) -> Iterator[tuple[str, _Entry]]:
        for words in lists:
            for group in words.groups:
                yield from ((self._phrase(term), _Entry(words.category, group.score)) for term in group.terms)
            yield from ((self._phrase(phrase), _Entry(words.category, None)) for phrase in words.benign)

    def _phrase(self, term: str) -> str:
        """A listed phrase as it stands in a reading."""
        readings = self._normaliser.normalise(term).words
        if not readings:
            raise ConfigurationError(f"the word list entry {term!r} holds no letter or digit")
        return readings[0].text.strip()

    def _search(self, text: str, where: PromptField) -> list[Finding]:
        matches = list(self._matches(self._normaliser.normalise(text)))
        benign = _benign_marks(len(text), matches)
        scores: dict[tuple[Category, int, int], float] = {}
        for match in matches:
            score = match.entry.score
            if score is not None and not _is_benign(match, benign):
                key = (match.entry.category, match.start, match.end)
                scores[key] = max(score, scores.get(key, 0.0))
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0][1:]))[:MAX_FINDINGS]
        return [Finding(category, score, self.name, start, end, where) for (category, start, end), score in best]

    def _matches(self, text: NormalisedText) -> Iterator[_Match]:
        for reading in text.words:
            yield from self._whole.matches(reading)
        for reading in text.collapsed:
            yield from self._collapsed.matches(reading)
        for reading in text.spelled:
            yield from self._whole.matches(reading)
            yield from self._inside.matches(reading)


class _Automaton:
    """Finds all of many phrases in one pass."""

    def __init__(self, phrases: Iterable[tuple[str, _Entry]]) -> None:
        found: dict[str, set[_Entry]] = {}
        for phrase, entry in phrases:
            found.setdefault(phrase, set()).add(entry)
        self._automaton = ahocorasick.Automaton()
        for phrase, entries in found.items():
            self._automaton.add_word(phrase, (len(phrase), len(phrase) - len(phrase.lstrip()), entries))
        self._automaton.make_automaton()

    def matches(self, reading: Reading) -> Iterator[_Match]:
        for last, (length, margin, entries) in self._automaton.iter(reading.text):
            start, end = last + 1 - length + margin, last + 1 - margin
            # A collapsed reading is for stretched words alone: the others stand unchanged in a reading of their own.
            if not reading.stretched or any(reading.stretched[start:end]):
                span = reading.span(start, end)
                yield from (_Match(entry, *span) for entry in entries)


def _benign_marks(length: int, matches: Iterable[_Match]) -> Mapping[Category, bytearray]:
    """For each category, which characters of the original stand in a benign phrase."""
    marks: dict[Category, bytearray] = {}
    for match in matches:
        if match.entry.score is None:
            mark = marks.setdefault(match.entry.category, bytearray(length))
            mark[match.start : match.end] = b"\1" * (match.end - match.start)
    return marks


def _is_benign(match: _Match, marks: Mapping[Category, bytearray]) -> bool:
    mark = marks.get(match.entry.category)
    return mark is not None and all(mark[match.start : match.end])
