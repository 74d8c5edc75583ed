"""The page on reliability says what was measured."""

from __future__ import annotations

from bench.reliability.__main__ import RESULTS
from bench.reliability.checks.table import CHECKS
from bench.reliability.report import PAGE, SENTENCES, render


def test_the_page_is_made_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(RESULTS)


def test_every_check_has_words_for_its_figures() -> None:
    assert {check.name for check in CHECKS} == set(SENTENCES)
