# ruff: noqa: RUF001  look-alike letters are what is tested here
from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.normalise import MAX_TEXT, MAX_UNFOLDED, Normaliser
from safety.prompt.contexts import load_context_rules
from safety.prompt.lists import load_word_lists
from safety.prompt.wordlist import WordListCheck
from safety.readings import collapse
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
    "base64 everywhere": lambda size: ("Z29yZQ== " * size)[:size],
    "no base64": lambda size: "a" * (size - 1) + "=",
    "pictures": lambda size: "".join(chr(0x1F300 + index % 0x300) for index in range(size)),
    "every script": lambda size: "".join(chr(0x100 + index * 7) for index in range(size)),
    "pieces in every reading": lambda size: ("g1 о r-3 " * size)[:size],
    "near matches": lambda size: ("zz b lo c k " * size)[:size],
}


def words(text: str) -> list[str]:
    return [reading.text.strip() for reading in NORMALISER.normalise(text).words]


def test_plain_text_has_one_reading() -> None:
    normalised = NORMALISER.normalise("A red circle, on a BLUE background")

    assert [reading.text for reading in normalised.words] == [" a red circle on a blue background "]
    assert normalised.collapsed == ()
    assert [reading.text for reading in normalised.joined] == ["aredcircleonabluebackground"]


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
        ("h1gh", "hlgh"),  # an alphabet without i: 1 may be i or l
        ("he1p", "help"),
        ("p@$$", "pass"),
        ("GIobe", "globe"),  # a capital I for l
        ("arch!", "archl"),  # one sign at a word's end may be a letter
        ("h!gh", "hlgh"),
        ("(word:1.3)", "word"),
        ("(word:.5) [other:-2]", "word other"),
        ("sp-l.i_t", "split"),  # as one word
        ("sp-l.i_t", "sp l i t"),  # and as several
        ("снег", "снег"),  # another script keeps a reading of its own
        ("tʽis", "t is"),  # modifier letters that look like apostrophes
        ("\u0643\u0640\u0640\u062a\u0628", "\u0643\u062a\u0628"),  # an Arabic word, lengthened
        ("t\u037ape", "tipe"),  # a spaced iota subscript
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
    assert reading.stretched == {1, 3}
    assert collapse("book") == "bok"


def test_letter_in_an_official_name_is_read() -> None:
    assert "quick" in words("ʠцɪɕḱ".replace("ц", "ʉ"))
    assert "pet" in words("🅿🅴🆃")


def test_hangul_is_read_in_whole_syllables() -> None:
    assert words("고양이 사진") == ["고양이 사진"]


def test_emoji_are_read_by_name_and_in_place() -> None:
    *_, reading = NORMALISER.normalise("two 🐈 on a sofa, 🐈 and 🌵").words

    assert reading.text == " cat | cactus | "
    assert reading.span(1, 4) == (4, 5)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("see cmVkIGNhdA== there", "red cat |"),
        ("cmVkIGNhdA", "red cat |"),  # without padding
        ("of/cmVkIGNhdA==", "red cat |"),  # a slash that parts
        ("Y2Fmw6k=", "cafe |"),
    ],
)
def test_base64_is_decoded(text: str, reading: str) -> None:
    assert reading in words(text)


def test_words_that_only_look_like_base64_have_no_further_reading() -> None:
    assert words("masterpiece best quality") == ["masterpiece best quality"]


def test_pieces_are_joined_and_know_their_bounds() -> None:
    (reading,) = NORMALISER.normalise("write he llo to J R").joined

    assert reading.text == "writehellotojr"
    assert reading.pieces_at(5, 10) == ["he", "llo"]
    assert reading.pieces_at(6, 10) is None
    assert reading.span(5, 10) == (6, 12)


def test_seam_joins_the_end_of_one_text_to_the_start_of_the_next() -> None:
    first, second = NORMALISER.normalise("a cat, hel"), NORMALISER.normalise("lo, 2 dogs")

    seams = {reading.text: offset for reading, offset in NORMALISER.seam(first, second)}
    assert seams["acathello2dogs"] == len("acathel")


def test_no_character_unfolds_to_more_than_the_limit() -> None:
    codes = (code for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)
    longest = [chr(code) for code in codes if len(unicodedata.normalize("NFKD", chr(code))) > MAX_UNFOLDED]

    assert len(longest) > 20
    assert {len(NORMALISER._fold(char).native) for char in longest} <= set(range(1, MAX_UNFOLDED + 1))


def test_text_beyond_the_limit_is_refused_not_cut() -> None:
    with pytest.raises(ValueError, match="8000 characters"):
        NORMALISER.normalise("a" * (MAX_TEXT + 1))


@given(st.text(max_size=80))
@settings(deadline=None)
def test_every_word_of_a_reading_stands_at_its_place(text: str) -> None:
    normalised = NORMALISER.normalise(text)

    for reading in (*normalised.words, *normalised.collapsed, *normalised.joined):
        assert len(reading.starts) == len(reading.begins) == len(reading.ends)
        bounds = [*reading.starts, len(reading.text)]
        for start, after, begin, end in zip(bounds, bounds[1:], reading.begins, reading.ends, strict=False):
            word = reading.text[start:after].strip()
            assert word
            assert reading.span(start, start + len(word)) == (begin, end)
            assert 0 <= begin < end <= len(text)
            assert not text[begin].isspace()
            assert not text[end - 1].isspace()


@given(st.text(max_size=60))
@settings(deadline=None)
def test_a_term_is_found_whatever_stands_beside_it(text: str) -> None:
    findings = CHECK.run(PromptSubject(f"{text} , zzblockedterm , {text}"))

    assert 1.0 in {finding.score for finding in findings}


CHECK = WordListCheck(load_word_lists(), load_context_rules())


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

    # The emptiest texts cost so little that what every text costs weighs in.
    assert full <= 2.2 * half + 200
    assert full <= 100 * LONGEST_PROMPT


@pytest.mark.parametrize("worst", WORST)
def test_no_text_takes_long(worst: str) -> None:
    text = WORST[worst](LONGEST_PROMPT)
    CHECK.run(PromptSubject(text, text))

    start = time.process_time()
    CHECK.run(PromptSubject(text, text))
    # Ten times what is promised, so that a busy machine does not fail this and quadratic work still does.
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("worst", WORST)
def test_readings_hold_a_bounded_number_of_characters(worst: str) -> None:
    text = WORST[worst](LONGEST_PROMPT)
    normalised = NORMALISER.normalise(text)
    readings = (*normalised.words, *normalised.collapsed, *normalised.joined)

    assert len(readings) <= 22  # 4 alphabets: apart, glued, both collapsed, joined; emoji and base64
    assert sum(len(reading.text) for reading in readings) <= 22 * (2 * MAX_UNFOLDED * LONGEST_PROMPT + 1)
