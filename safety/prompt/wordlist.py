"""Matches lists of words against a request's texts, whole words only, through every reading of the normaliser.

A match inside a benign phrase of the same category ("chicken breast") does not count. The negative prompt is searched
like the prompt and its findings say where they stand; the policy exempts categories there, because people name in it
what they do *not* want to see. Words that begin in one text and end in the other are found, and the rules about two
contexts see all texts together. Findings never quote a list entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from safety.normalise import NormalisedText, Normaliser
from safety.prompt.contexts import ContextRule
from safety.prompt.lists import WordList
from safety.prompt.phrases import Entry, Match, PhraseIndex, phrase_of
from safety.prompt.variants import load_ordinary_words
from safety.subjects import PromptSubject
from safety.verdict import Category, Finding, PromptField, Stage

MAX_FINDINGS = 64  # of one text; the highest scores are kept


class WordListCheck:
    """Finds listed terms, and words whose contexts must not meet, in the prompt and the negative prompt."""

    name = "prompt_wordlist"
    stage = Stage.PROMPT

    def __init__(
        self,
        lists: Sequence[WordList],
        contexts: Sequence[ContextRule] = (),
        *,
        ordinary: frozenset[str] | None = None,
    ) -> None:
        self._normaliser = Normaliser()
        self._rules = {f"{rule.category} context {index}": rule for index, rule in enumerate(contexts)}
        # Of one category the rules are one, in several languages.
        self._excluded = {
            category: frozenset(
                phrase_of(term, self._normaliser)
                for rule in contexts
                if rule.category is category
                for term in rule.excluded_in_negative_prompt
            )
            for category in {rule.category for rule in contexts}
        }
        entries = [*self._listed(lists), *self._in_context()]
        self._index = PhraseIndex(entries, load_ordinary_words() if ordinary is None else ordinary)

    def run(self, subject: PromptSubject) -> list[Finding]:
        prompt = self._normaliser.normalise(subject.text)
        negative = self._normaliser.normalise(subject.negative_prompt)
        found = {
            PromptField.PROMPT: [*self._counted(prompt), *self._across(prompt, negative)],
            PromptField.NEGATIVE_PROMPT: self._counted(negative),
        }
        listed = (finding for where, matches in found.items() for finding in self._findings(matches, where))
        return [*self._meetings(found), *listed]

    def _listed(self, lists: Sequence[WordList]) -> Iterator[Entry]:
        for words in lists:
            for group in words.groups:
                yield from self._entries(words.category, group.score, group.terms)
            yield from self._entries(words.category, None, words.all_benign())

    def _in_context(self) -> Iterator[Entry]:
        for topic, rule in self._rules.items():
            yield from self._entries(topic, rule.score, rule.all_terms())
            yield from self._entries(topic, None, rule.benign)

    def _entries(self, topic: str, score: float | None, terms: Iterable[str]) -> Iterator[Entry]:
        return (Entry(str(topic), score, phrase_of(term, self._normaliser)) for term in terms)

    def _counted(self, text: NormalisedText) -> list[Match]:
        """The matches in a text, without those that a benign phrase of their topic excuses."""
        matches = list(self._index.matches(text))
        benign = _benign_marks(text.length, matches)
        return [match for match in matches if match.entry.score is not None and not _is_benign(match, benign)]

    def _across(self, prompt: NormalisedText, negative: NormalisedText) -> list[Match]:
        seams = self._normaliser.seam(prompt, negative)
        return [Match(entry, start, prompt.length) for entry, start in self._index.matches_across(seams)]

    def _findings(self, matches: Iterable[Match], where: PromptField) -> list[Finding]:
        """One finding for each place and category, the highest scores first."""
        scores: dict[tuple[str, int, int], float] = {}
        for match in matches:
            if match.entry.topic not in self._rules:
                key = (match.entry.topic, match.start, match.end)
                scores[key] = max(match.entry.score or 0.0, scores.get(key, 0.0))
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0][1:]))[:MAX_FINDINGS]
        return [Finding(Category(topic), score, self.name, start, end, where) for (topic, start, end), score in best]

    def _meetings(self, found: Mapping[PromptField, Sequence[Match]]) -> Iterator[Finding]:
        """One finding for each rule whose two contexts stand anywhere in the request."""
        for topic, rule in self._rules.items():
            own = [
                (where, match) for where, matches in found.items() for match in matches if match.entry.topic == topic
            ]
            if own and self._meets(rule, found):
                where, first = own[0]
                yield Finding(rule.category, rule.score, self.name, first.start, first.end, where)

    def _meets(self, rule: ContextRule, found: Mapping[PromptField, Sequence[Match]]) -> bool:
        excluded = self._excluded[rule.category]
        return any(
            match.entry.topic in rule.meets
            and not (where is PromptField.NEGATIVE_PROMPT and match.entry.phrase in excluded)
            for where, matches in found.items()
            for match in matches
        )


def _benign_marks(length: int, matches: Iterable[Match]) -> Mapping[str, bytearray]:
    """For each topic, which characters of the original stand in a benign phrase."""
    marks: dict[str, bytearray] = {}
    for match in matches:
        if match.entry.score is None:
            mark = marks.setdefault(match.entry.topic, bytearray(length))
            mark[match.start : match.end] = b"\1" * (match.end - match.start)
    return marks


def _is_benign(match: Match, marks: Mapping[str, bytearray]) -> bool:
    mark = marks.get(match.entry.topic)
    return mark is not None and all(mark[match.start : match.end])
