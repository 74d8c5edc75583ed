"""The weighting syntax of prompts."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.prompt_syntax import MAX_WEIGHT, Fragment, parse_prompt, plain_text

UP, DOWN = 1.1, 0.909091


def parsed(prompt: str) -> list[tuple[str, float]]:
    return [(fragment.text, fragment.weight) for fragment in parse_prompt(prompt)]


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("", []),
        ("a red circle", [("a red circle", 1.0)]),
        ("a (red:1.3) circle", [("a ", 1.0), ("red", 1.3), (" circle", 1.0)]),
        ("(red)", [("red", UP)]),
        ("((red))", [("red", 1.21)]),
        ("[red]", [("red", DOWN)]),
        ("[[red]]", [("red", 0.826446)]),
        ("(a (b) c:2)", [("a ", 2.0), ("b", 2.2), (" c", 2.0)]),
        ("([a])", [("a", 1.0)]),
        ("(a:0.5)(b:0.5)", [("ab", 0.5)]),
        ("(a:0)", [("a", 0.0)]),
        ("()", []),
        ("(:1.3)", []),
        ("(a: 1.5 )", [("a", 1.5)]),
        ("(a:+1.5)", [("a", 1.5)]),
        ("(a:.5)", [("a", 0.5)]),
        ("(a:2.)", [("a", 2.0)]),
        ("(a, b:c:1.2)", [("a, b:c", 1.2)]),
        ("(a:1.5\n)", [("a", 1.5)]),
    ],
)
def test_brackets_weigh_what_they_hold(prompt: str, fragments: list[tuple[str, float]]) -> None:
    assert parsed(prompt) == [(text, pytest.approx(weight)) for text, weight in fragments]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a (b", "a (b"),
        ("a b)", "a b)"),
        ("a [b", "a [b"),
        ("a b]", "a b]"),
        (")(", ")("),
        ("a b:1.3)", "a b:1.3)"),
        ("a: b", "a: b"),
        (r"\(a\)", "(a)"),
        (r"\[a\]", "[a]"),
        (r"a\\b", r"a\b"),
        (r"a\b", r"a\b"),
        ("a\\", "a\\"),
        (r"\(a:1.3\)", "(a:1.3)"),
    ],
)
def test_lone_and_escaped_brackets_are_ordinary_characters(prompt: str, text: str) -> None:
    assert parsed(prompt) == [(text, 1.0)]


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("(a [b)", [("a [b", UP)]),
        ("(a [b) c]", [("a [b", UP), (" c]", 1.0)]),
        ("[a (b]", [("a (b", DOWN)]),
        ("((a)", [("(", 1.0), ("a", UP)]),
        ("(a))", [("a", UP), (")", 1.0)]),
        ("[a:1.3]", [("a:1.3", DOWN)]),
        ("(a:1.2.3)", [("a:1.2.3", UP)]),
        ("(a:b)", [("a:b", UP)]),
        ("(a:-)", [("a:-", UP)]),
        ("(a:1e3)", [("a:1e3", UP)]),
        ("(a:nan)", [("a:nan", UP)]),
        ("(a:²)", [("a:²", UP)]),
        (r"(a\):1.3)", [("a)", 1.3)]),
    ],
)
def test_what_is_only_half_syntax_keeps_its_characters(prompt: str, fragments: list[tuple[str, float]]) -> None:
    assert parsed(prompt) == [(text, pytest.approx(weight)) for text, weight in fragments]


@pytest.mark.parametrize(
    ("prompt", "weight"),
    [
        ("(a:-3)", 0.0),
        ("(a:1000)", MAX_WEIGHT),
        ("(a:" + "9" * 2000 + ")", MAX_WEIGHT),
        ("((a:4):4)", MAX_WEIGHT),
        ("(" * 500 + "a" + ":4)" * 500, MAX_WEIGHT),
        ("(" * 900 + "[" * 100 + "a" + "]" * 100 + ")" * 900, MAX_WEIGHT),
        ("[" * 1000 + "a" + "]" * 1000, 0.0),
        ("(((" + "a:4):4):0)", 0.0),
    ],
)
def test_weights_stay_within_their_range(prompt: str, weight: float) -> None:
    assert parsed(prompt) == [("a", weight)]


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 2000,
        ")" * 2000,
        "([" * 1000,
        "()" * 1000,
        "(" * 1000 + ")" * 1000,
        "[" * 999 + "(" + ")" + "]" * 999,
        "([" * 500 + "])" * 500,
        "([" * 500 + ")]" * 500,
        ":" * 2000,
        ":1" * 1000,
        ": " * 1000,
        ":" + " " * 1999,
        ":" + "1" * 1999,
        "\\" * 2000,
        "(a:" * 600 + "1)" * 100,
    ],
)
def test_two_thousand_characters_of_syntax_take_milliseconds(prompt: str) -> None:
    started = time.process_time()

    parse_prompt(prompt)

    assert time.process_time() - started < 0.1


syntax = st.text(alphabet=st.sampled_from("()[]:\\ .0123456789ab,\n"), max_size=200)


@given(syntax | st.text(max_size=200))
def test_any_text_gives_fragments_in_its_own_order(prompt: str) -> None:
    fragments = parse_prompt(prompt)

    assert all(0 <= fragment.weight <= MAX_WEIGHT and fragment.text for fragment in fragments)
    assert all(one.weight != other.weight for one, other in itertools.pairwise(fragments))
    rest = iter(prompt)
    assert all(character in rest for character in plain_text(prompt)), "characters are left out, never moved or added"


@given(st.text(max_size=200))
def test_escaping_every_special_character_gives_the_text_back(text: str) -> None:
    escaped = "".join(f"\\{character}" if character in "()[]\\" else character for character in text)

    assert parse_prompt(escaped) == ((Fragment(text, 1.0),) if text else ())


@given(st.text(alphabet=st.characters(exclude_characters="()[]\\"), max_size=200))
def test_text_without_brackets_is_left_as_it_is(text: str) -> None:
    assert parse_prompt(text) == ((Fragment(text, 1.0),) if text else ())


@given(st.lists(st.sampled_from(["(", "["]), max_size=30))
def test_nested_brackets_multiply(opening: list[str]) -> None:
    closing = [{"(": ")", "[": "]"}[bracket] for bracket in reversed(opening)]
    weight = 1.1 ** opening.count("(") / 1.1 ** opening.count("[")

    (fragment,) = parse_prompt("".join([*opening, "a", *closing]))

    assert fragment.weight == pytest.approx(min(weight, MAX_WEIGHT), abs=1e-6)
