from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError
from darkroom.params import MAX_PROMPT
from safety.prompt.contexts import load_context_rules
from safety.prompt.lists import load_word_lists
from safety.prompt.replacements import REPLACEMENTS, TableRewriter, load_replacements
from safety.prompt.wordlist import WordListCheck
from safety.subjects import PromptSubject
from safety.verdict import Category, Finding, PromptField

CHECK = WordListCheck(load_word_lists(), load_context_rules())
REWRITER = TableRewriter(load_replacements())


def rewrite(prompt: str, negative_prompt: str = "", *, triggers: tuple[str, ...] = ()) -> PromptSubject | None:
    subject = PromptSubject(prompt, negative_prompt, triggers)
    return REWRITER.rewrite(subject, CHECK.run(subject))


def rewritten(prompt: str) -> str | None:
    changed = rewrite(prompt)
    return changed and changed.prompt


@pytest.mark.parametrize(
    ("prompt", "changed"),
    [
        ("a zzblockedterm on a table", "a red circle on a table"),
        ("zzreviewterm, (zzblockedterm:1.2)", "blue square, (red circle:1.2)"),
        ("a z-z-b-l-o-c-k-e-d-t-e-r-m.", "a red circle."),  # disguised
        ("a zz blocked term", "a red circle"),
        ("zzblckdtrm at dawn", "red circle at dawn"),
        ("lots of gore", "lots of autumn leaves"),
        ("dismembered robots", "peaceful robots"),  # a term that only the category's own words stand in for
        ("explicit sex scene", "explicit dinner scene"),  # the longest of the terms in one place
    ],
)
def test_what_was_found_is_replaced_and_nothing_else(prompt: str, changed: str) -> None:
    assert rewritten(prompt) == changed


def test_prompt_without_findings_has_no_proposal() -> None:
    assert rewrite("a red circle", "gore") is None


def test_finding_in_an_adapters_words_has_no_proposal() -> None:
    assert rewrite("a red circle", triggers=("zzblockedterm",)) is None


def test_finding_without_a_place_has_no_proposal() -> None:
    assert REWRITER.rewrite(PromptSubject("a cat"), [Finding(Category.custom, 1.0, "guard")]) is None


def test_category_without_a_table_has_no_proposal() -> None:
    finding = Finding(Category.minors, 1.0, "prompt_wordlist", 0, 5, PromptField.PROMPT)

    assert REWRITER.rewrite(PromptSubject("a cat"), [finding]) is None


def test_negative_prompt_gets_the_categories_words_once() -> None:
    changed = rewrite("zzblockedterm, lots of gore", "ugly, Wounds")

    assert changed is not None
    assert changed.negative_prompt == "ugly, Wounds, blurry, blood, injuries, horror"


def test_negative_prompt_is_not_hardened_beyond_its_limit() -> None:
    full = "x" * (MAX_PROMPT - 3)
    changed = rewrite("zzblockedterm", full)

    assert changed is not None
    assert changed.negative_prompt == full


def test_adapters_words_are_kept() -> None:
    changed = rewrite("zzblockedterm", triggers=("pastel style",))

    assert changed is not None
    assert changed.triggers == ("pastel style",)


def test_shipped_replacements_are_no_findings_themselves() -> None:
    for table in load_replacements():
        for words in (*table.terms.values(), *table.negative_prompt, *([table.otherwise] if table.otherwise else [])):
            assert CHECK.run(PromptSubject(f"a child, {words}", words)) == []


def test_every_shipped_term_but_the_invented_ones_can_be_replaced() -> None:
    tables = {table.category for table in load_replacements()}

    for words in load_word_lists():
        for term in [term for group in words.groups for term in group.terms if words.category in tables]:
            changed = rewritten(f"a painting of {term}")
            assert changed is not None, term
            assert CHECK.run(PromptSubject(changed)) == [], term


def test_faulty_table_is_refused_with_a_sentence(tmp_path: Path) -> None:
    text = (REPLACEMENTS / "custom.und.toml").read_text(encoding="utf-8")
    (tmp_path / "custom.und.toml").write_text(text.replace('"red circle"', '""'), encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"replacement table .*terms.zzblockedterm: String should have"):
        load_replacements(tmp_path)
