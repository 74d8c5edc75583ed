# ruff: noqa: RUF001  look-alike letters are what is tested here
from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.normalise import MAX_DECOMPOSED, MAX_FOLDED, Normaliser, collapse
from safety.prompt.lists import load_word_lists
from safety.prompt.wordlist import WordListCheck
from safety.subjects import PromptSubject

NORMALISER = Normaliser()
LONGEST_PROMPT = 2_000

# Texts that make a part of the work as heavy as it gets.
WORST: dict[str, Callable[[int], str]] = {
    "plain": lambda size: ("a large brown dog on a beach, " * size)[:size],
    "expanding": lambda size: "\ufdfa" * size,
    "every reading": lambda size: ("гооо1.е!п " * size)[:size],
    "open weights": lambda size: ("(a:1" * size)[:size],
    "one long number": lambda size: ":" + "1" * (size - 1),
    "colons and spaces": lambda size: (":   " * size)[:size],
    "brackets": lambda size: "(" * size,
    "single letters": lambda size: ("g o r 3 " * size)[:size],
    "one stretched word": lambda size: "o" * size,
    "matches everywhere": lambda size: ("zzreviewterm " * size)[:size],
    "benign phrases everywhere": lambda size: ("nude lipstick " * size)[:size],
    "nothing to see": lambda size: "\u200b" * size,
}


def words(text: str) -> list[str]:
    return [reading.text.strip() for reading in NORMALISER.normalise(text).words]


def test_plain_text_has_one_reading() -> None:
    normalised = NORMALISER.normalise("A red circle, on a BLUE background")

    assert [reading.text for reading in normalised.words] == [" a red circle on a blue background "]
    assert (normalised.collapsed, normalised.spelled) == ((), ())


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("Ｆｕｌｌ", "full"),  # NFKC folds width
        ("ﬁsh", "fish"),  # and ligatures
        ("Straße", "strasse"),  # casefold, not lower
        ("İstanbul", "istanbul"),  # whose lower case is two characters
        ("cafe\u0301", "cafe"),  # combining mark
        ("café", "cafe"),  # the same, precomposed
        ("in\u200bvis\u00adible", "invisible"),
        ("tab\there\r\nthere", "tab here there"),
        ("сat", "cat"),  # Cyrillic s
        ("h1gh", "high"),
        ("he1p", "help"),
        ("p@$$", "pass"),
        ("h!gh", "high"),
        ("(word:1.3)", "word"),
        ("(word:.5) [other:-2]", "word other"),
        ("sp-l.i_t", "split"),  # as one word
        ("sp-l.i_t", "sp l i t"),  # and as several
        ("снег", "снег"),  # another script keeps a reading of its own
        ("ratio 16:9", "ratio 16 9"),  # a colon outside brackets is no weight
        ("in 1984", "in 1984"),  # a number stays a number
    ],
)
def test_text_has_the_reading(text: str, reading: str) -> None:
    assert reading in words(text)


def test_numbers_have_no_reading_as_letters() -> None:
    assert words("455 rooms") == ["455 rooms"]


def test_stretched_words_are_collapsed_and_marked() -> None:
    (reading,) = NORMALISER.normalise("a boook on sooofas").collapsed

    assert reading.text == " a bok on sofas "
    assert [reading.text[i] for i in range(len(reading.text)) if reading.stretched[i]] == list("boksofas")
    assert collapse("book") == "bok"


def test_single_letters_in_a_row_are_spelled_out() -> None:
    normalised = NORMALISER.normalise("write h e l l o to J R now")

    assert [reading.text for reading in normalised.spelled] == [" hello "]


def test_no_character_folds_to_more_than_the_limit() -> None:
    every = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)
    folded = {char: len("".join(unicodedata.normalize("NFKD", char)[:MAX_DECOMPOSED]).casefold()) for char in every}
    cut = [char for char in folded if len(unicodedata.normalize("NFKD", char)) > MAX_DECOMPOSED]

    assert max(folded.values()) <= MAX_DECOMPOSED
    assert cut == ["\ufdfa"]
    assert MAX_FOLDED >= MAX_DECOMPOSED * LONGEST_PROMPT


def test_text_beyond_the_limit_is_refused_not_cut() -> None:
    with pytest.raises(ValueError, match="16000 characters"):
        NORMALISER.normalise("a" * (MAX_FOLDED + 1))


@given(st.text(max_size=80))
@settings(deadline=None)
def test_every_letter_of_a_reading_comes_from_its_place(text: str) -> None:
    normalised = NORMALISER.normalise(text)

    for reading in (*normalised.words, *normalised.collapsed, *normalised.spelled):
        assert len(reading.places) == len(reading.text)
        for start, letter in enumerate(reading.text):
            if letter != " ":
                place, end = reading.span(start, start + 1)
                assert end == place + 1
                assert place < len(text)
                assert not text[place].isspace()
        places = [place for place, letter in zip(reading.places, reading.text, strict=True) if letter != " "]
        assert places == sorted(places)


@given(st.text(max_size=60))
@settings(deadline=None)
def test_a_term_is_found_whatever_stands_beside_it(text: str) -> None:
    findings = CHECK.run(PromptSubject(f"{text} , zzblockedterm , {text}"))

    assert 1.0 in {finding.score for finding in findings}


CHECK = WordListCheck(load_word_lists())


def _lines_executed(text: str) -> int:
    """The lines of Python that a check of a text runs through, comprehensions' turns included."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        CHECK.run(PromptSubject(text))
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("worst", WORST)
def test_work_grows_no_faster_than_the_text(worst: str) -> None:
    half, full = (_lines_executed(WORST[worst](size)) for size in (LONGEST_PROMPT // 2, LONGEST_PROMPT))

    assert full <= 2.2 * half
    assert full <= 500 * LONGEST_PROMPT


@pytest.mark.parametrize("worst", WORST)
def test_readings_hold_a_bounded_number_of_characters(worst: str) -> None:
    text = WORST[worst](LONGEST_PROMPT)
    normalised = NORMALISER.normalise(text)
    readings = (*normalised.words, *normalised.collapsed, *normalised.spelled)

    assert len(readings) <= 20  # 4 alphabets: apart, glued, both collapsed, spelled
    assert sum(len(reading.text) for reading in readings) <= 20 * (2 * MAX_FOLDED + 1)
