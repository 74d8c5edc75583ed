"""The rule about two contexts, tried with invented words that no list of ours holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError
from safety.prompt.contexts import CONTEXTS, load_context_rules
from safety.prompt.lists import load_word_lists
from safety.prompt.wordlist import WordListCheck
from safety.subjects import PromptSubject
from safety.verdict import Category, PromptField

LISTS = Path(__file__).parent / "lists"
CHECK = WordListCheck(load_word_lists(LISTS / "words"), load_context_rules(LISTS / "contexts"))
SHIPPED = WordListCheck(load_word_lists(), load_context_rules())
AGE, OTHER = "zzfirstcontext", "zzsecondcontext"
PROMPT, NEGATIVE = PromptField.PROMPT, PromptField.NEGATIVE_PROMPT


def minors(*texts: str, triggers: tuple[str, ...] = ()) -> list[tuple[float, PromptField | None]]:
    findings = CHECK.run(PromptSubject(*texts, triggers=triggers))
    return [(finding.score, finding.field) for finding in findings if finding.category is Category.minors]


@pytest.mark.parametrize(
    ("subject", "field"),
    [
        (PromptSubject(f"{AGE} {OTHER}"), PROMPT),
        (PromptSubject(f"{OTHER}, a park, {AGE}"), PROMPT),
        (PromptSubject(AGE, OTHER), PROMPT),
        (PromptSubject(OTHER, AGE), NEGATIVE),
        (PromptSubject("a park", f"{OTHER}, {AGE}"), NEGATIVE),
        (PromptSubject(AGE, triggers=(OTHER,)), PROMPT),
        (PromptSubject("a park", AGE, (OTHER,)), NEGATIVE),
    ],
)
def test_two_contexts_meet_anywhere_in_a_request(subject: PromptSubject, field: PromptField) -> None:
    findings = [finding for finding in CHECK.run(subject) if finding.category is Category.minors]

    assert [(finding.score, finding.field) for finding in findings] == [(1.0, field)]


@pytest.mark.parametrize("text", [AGE, OTHER, f"{AGE} in a park", "7 zzyears", f"zzharmless {OTHER}, {AGE}"])
def test_one_context_alone_is_no_finding(text: str) -> None:
    assert minors(text) == []


@pytest.mark.parametrize(
    "text",
    [
        f"7 zzyears {OTHER}",
        f"(7 zzyears:1.2) {OTHER}",
        f"seven zzyears {OTHER}",
        f"{' '.join(AGE)} {OTHER}",
        f"{AGE} {' '.join(OTHER)}",
        f"{AGE[::-1]} {OTHER}",
        f"{AGE} zzsecnodcontext",
        f"🌵 {OTHER}",
    ],
)
def test_disguises_hide_no_context(text: str) -> None:
    assert minors(text) == [(1.0, PROMPT)]


def test_number_outside_the_range_is_another_context() -> None:
    assert minors(f"18 zzyears {OTHER}") == []


def test_benign_phrase_of_a_context_does_not_count() -> None:
    assert minors(f"{AGE} blue, {OTHER}") == []


def test_words_that_keep_a_picture_clean_are_welcome_in_the_negative_prompt() -> None:
    assert minors(AGE, "zzexcluded") == []
    assert minors(f"{AGE}, zzexcluded") == [(1.0, PROMPT)]


def test_shipped_rules_meet_sexual_words_only() -> None:
    rules = load_context_rules()

    assert {rule.language for rule in rules} == {"en", "de", "fr", "es"}
    for rule in rules:
        assert (rule.category, rule.meets, rule.score) == (Category.minors, (Category.sexual,), 1.0)
        assert "Apache-2.0" in rule.licence


@pytest.mark.parametrize(
    "subject",
    [
        PromptSubject("a child at the playground"),
        PromptSubject("a mother breastfeeding her baby"),
        PromptSubject("a 7 year old with a kite"),
        PromptSubject("a child at the playground", "nsfw, nudity, gore"),
        PromptSubject("Kinder spielen im Garten, drei Jahre alt"),
        PromptSubject("une fillette de six ans avec un ballon"),
        PromptSubject("una niña con un globo, cinco años", "desnudo"),
    ],
)
def test_shipped_rules_find_nothing_in_family_pictures(subject: PromptSubject) -> None:
    assert not [finding for finding in SHIPPED.run(subject) if finding.category is Category.minors]


def test_each_shipped_rule_works_beside_an_invented_word_of_the_other_context() -> None:
    check = WordListCheck(load_word_lists(LISTS / "words"), load_context_rules())

    for text in ("child", "drei Jahre alt", "fillette", "cinco años", "7 yo", "\N{BABY}"):
        assert Category.minors in {finding.category for finding in check.run(PromptSubject(f"{text}, {OTHER}"))}, text


def test_faulty_rule_is_refused_with_a_sentence(tmp_path: Path) -> None:
    text = (CONTEXTS / "minors.en.toml").read_text(encoding="utf-8")
    (tmp_path / "minors.en.toml").write_text(text.replace('["sexual"]', '["weather"]'), encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"context rule .*meets\.0: Input should be 'sexual'"):
        load_context_rules(tmp_path)
