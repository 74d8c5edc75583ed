"""Cutting prompts into chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.prompt_chunks import MAX_CHUNKS, Plan, Vector, Vocabulary, plan_chunks

ROOM = 75


def letters(text: str) -> list[list[int]]:
    """A tokenizer with one token for each letter."""
    return [[ord(letter) for letter in word] for word in text.split()]


def planned(prompt: str, **vectors: int) -> Plan:
    return plan_chunks(prompt, tokenize=letters, vocabulary=Vocabulary(vectors))


def texts(plan: Plan) -> list[str]:
    return ["".join(chr(token.meaning) for token in chunk) for chunk in plan.chunks]


def test_an_empty_prompt_is_one_empty_chunk() -> None:
    assert planned("") == planned("()") == Plan(((),), tokens=2)


def test_a_prompt_that_fits_is_one_chunk_with_the_weight_of_each_token() -> None:
    (chunk,) = planned("ab (c:1.5) d").chunks

    assert [(chr(token.meaning), token.weight, token.fragment) for token in chunk] == [
        ("a", 1.0, 0),
        ("b", 1.0, 0),
        ("c", 1.5, 1),
        ("d", 1.0, 2),
    ]


@pytest.mark.parametrize(("words", "chunks"), [(75, 1), (76, 2), (150, 2), (151, 3)])
def test_a_chunk_holds_75_tokens(words: int, chunks: int) -> None:
    plan = planned("a " * words)

    assert [len(chunk) for chunk in plan.chunks] == [ROOM] * (chunks - 1) + [words - ROOM * (chunks - 1)]
    assert plan.tokens == words + 2
    assert not plan.cut


def test_a_word_is_not_cut_in_two() -> None:
    assert texts(planned("a " * 73 + "bcd e")) == ["a" * 73, "bcde"]


def test_a_word_longer_than_a_chunk_is_cut() -> None:
    assert [len(text) for text in texts(planned("a " + "b" * 160))] == [1, 75, 75, 10]


def test_a_short_weighted_stretch_stays_together() -> None:
    assert texts(planned("a " * 70 + "(bb cc dd:1.2) e")) == ["a" * 70, "bbccdde"]


def test_a_long_weighted_stretch_is_cut_between_words() -> None:
    assert texts(planned("a " * 70 + "(" + "bb " * 20 + ":1.2)")) == ["a" * 70 + "bb" * 2, "bb" * 18]


def test_what_comes_after_the_last_chunk_is_counted_and_cut() -> None:
    plan = planned("a " * (MAX_CHUNKS * ROOM + 1))

    assert len(plan.chunks) == MAX_CHUNKS
    assert plan.tokens == MAX_CHUNKS * ROOM + 3
    assert plan.cut


@pytest.mark.parametrize("text", ["x <moss> y", "x <MOSS> y", "x<moss>y"])
def test_an_embedding_takes_the_place_of_its_word_with_all_its_vectors(text: str) -> None:
    (chunk,) = plan_chunks(text, tokenize=letters, vocabulary=Vocabulary({"<Moss>": 3})).chunks

    vectors = [Vector("<Moss>", index) for index in range(3)]
    assert [token.meaning for token in chunk] == [ord("x"), *vectors, ord("y")]


def test_an_embedding_has_the_weight_of_its_brackets() -> None:
    (chunk,) = planned("(moss:1.4)", moss=2).chunks

    assert [token.weight for token in chunk] == [1.4, 1.4]


def test_a_word_within_another_one_is_no_embedding() -> None:
    (chunk,) = planned("mossy amoss moss2 moss-green, mo\u017fs", moss=2).chunks  # a long s, equal but for case

    assert [token.meaning for token in chunk if isinstance(token.meaning, Vector)] == 2 * [
        Vector("moss", 0),
        Vector("moss", 1),
    ]


def test_the_longer_of_two_embeddings_wins() -> None:
    vocabulary = Vocabulary({"moss-a": 1, "moss": 2})

    assert list(vocabulary.split("moss-a moss")) == ["", (Vector("moss-a", 0),), " ", *_moss(), ""]


def _moss() -> list[tuple[Vector, ...]]:
    return [(Vector("moss", 0), Vector("moss", 1))]


def test_the_vectors_of_one_embedding_stay_together() -> None:
    first, second = planned("a " * 73 + "moss", moss=4).chunks

    assert (len(first), len(second)) == (73, 4)


@given(st.text(alphabet="ab c(:1.3)[]", max_size=400))
def test_every_token_is_in_one_chunk_in_its_order(prompt: str) -> None:
    plan = plan_chunks(prompt, tokenize=letters, chunk_tokens=12)
    whole = plan_chunks(prompt, tokenize=letters, chunk_tokens=1000)

    assert all(len(chunk) <= 10 for chunk in plan.chunks)
    assert plan.tokens == whole.tokens
    read = [token for chunk in plan.chunks for token in chunk]
    assert read == list(whole.chunks[0])[: len(read)]
    assert plan.cut == (len(read) + 2 < plan.tokens)
