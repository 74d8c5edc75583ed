"""Rewrites a prompt by a table: what was found is replaced by something harmless, and the negative prompt is hardened.

One TOML file for each category and language: terms with their replacements, one for everything else of the category,
and the words that a rewritten request gets in its negative prompt. It changes only what findings point at, in the
prompt alone; what adapters bring along is nobody's to rewrite. Whether the outcome may pass is for the checks to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from darkroom.params import MAX_PROMPT
from darkroom.toml_file import read_toml
from safety.normalise import Normaliser
from safety.prompt.lists import Term
from safety.prompt.phrases import Entry, PhraseIndex, phrase_of
from safety.prompt.variants import load_ordinary_words
from safety.subjects import PromptSubject
from safety.verdict import Category, Finding, PromptField

REPLACEMENTS = Path(__file__).parents[1] / "data" / "replacements"
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class ReplacementTable(BaseModel):
    """What stands in for the terms of one category in one language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    category: Category
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
    licence: str
    terms: Mapping[Term, Words]
    otherwise: Words | None = None  # for a finding whose words the table does not list; None: it can't be rewritten
    negative_prompt: tuple[Words, ...] = ()


def load_replacements(folder: Path = REPLACEMENTS) -> tuple[ReplacementTable, ...]:
    """Read every table of a folder, in the order of the file names.

    Raises:
        ConfigurationError: a file is not valid.
    """
    return tuple(read_toml(path, ReplacementTable, what="replacement table") for path in sorted(folder.glob("*.toml")))


class TableRewriter:
    """Replaces what was found by what the tables say. Built once, used from several threads."""

    name = "replacement_table"

    def __init__(self, tables: Sequence[ReplacementTable], *, ordinary: frozenset[str] | None = None) -> None:
        self._normaliser = Normaliser()
        self._tables = tables
        self._known = {
            (str(table.category), phrase_of(term, self._normaliser)): words
            for table in tables
            for term, words in table.terms.items()
        }
        self._otherwise = {table.category: table.otherwise for table in tables if table.otherwise}
        entries = [Entry(topic, 1.0, phrase) for topic, phrase in self._known]
        self._index = PhraseIndex(entries, load_ordinary_words() if ordinary is None else ordinary)

    def rewrite(self, subject: PromptSubject, findings: Sequence[Finding]) -> PromptSubject | None:
        """The prompt with every place that was found replaced, or None where the tables know nothing for one."""
        places = _places(subject, findings)
        if not places:
            return None
        parts: list[str] = []
        last = 0
        for start, end, category in places:
            words = self._words_for(subject.prompt[start:end], category)
            if words is None:
                return None
            parts += [subject.prompt[last:start], words]
            last = end
        parts.append(subject.prompt[last:])
        categories = {category for _, _, category in places}
        return replace(
            subject, prompt="".join(parts), negative_prompt=self._hardened(subject.negative_prompt, categories)
        )

    def _words_for(self, found: str, category: Category) -> str | None:
        """The replacement of the longest listed phrase in what was found, however it is disguised."""
        matches = self._index.matches(self._normaliser.normalise(found))
        phrases = [match.entry.phrase for match in matches if match.entry.topic == category]
        known = [phrase for phrase in phrases if (str(category), phrase) in self._known]
        if known:
            return self._known[str(category), max(known, key=len)]
        return self._otherwise.get(category)

    def _hardened(self, negative_prompt: str, categories: set[Category]) -> str:
        """The negative prompt with the categories' words added, as far as there is room."""
        hardened = negative_prompt
        present = {word.strip().casefold() for word in negative_prompt.split(",")}
        for table in self._tables:
            for words in table.negative_prompt if table.category in categories else ():
                longer = f"{hardened}, {words}" if hardened.strip() else words
                if words.casefold() not in present and len(longer) <= MAX_PROMPT:
                    hardened = longer
                    present.add(words.casefold())
        return hardened


def _places(subject: PromptSubject, findings: Sequence[Finding]) -> list[tuple[int, int, Category]]:
    """Where the prompt's findings stand, in order; those that overlap as one, named after the highest score."""
    places: list[tuple[int, int, Category]] = []
    scores: list[float] = []
    found = [
        (finding.start, finding.end, finding)
        for finding in findings
        if finding.field is PromptField.PROMPT and finding.start is not None and finding.end is not None
    ]
    for start, found_end, finding in sorted(found, key=lambda place: place[:2]):
        end = min(found_end, len(subject.prompt))
        if start >= end:
            continue
        if places and start < places[-1][1]:
            first, last, category = places[-1]
            highest = finding.category if finding.score > scores[-1] else category
            places[-1] = (first, max(last, end), highest)
            scores[-1] = max(scores[-1], finding.score)
        else:
            places.append((start, end, finding.category))
            scores.append(finding.score)
    return places
