"""Pydantic's findings in our words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.validation import validated
from darkroom.errors import FieldProblem, InvalidParams
from darkroom.params import GenerationRequest

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(st.sampled_from(list(GenerationRequest.model_fields)), ANYTHING, max_size=6)


@settings(deadline=None)  # a busy machine is no failure
@given(FIELDS)
def test_every_fault_has_words_of_its_own(body: dict[str, object]) -> None:
    problems = _problems(body)

    assert all(re.split(r"[.[]", problem.field)[0] in GenerationRequest.model_fields for problem in problems)
    assert all(not problem.message.endswith("is not valid") for problem in problems)


@pytest.mark.parametrize("given", ["perhaps", None, [], 2])
def test_a_switch_takes_true_or_false(given: object) -> None:
    (problem,) = _problems({"prompt": "a", "dry_run": given})
    assert (problem.field, problem.message) == ("dry_run", "must be true or false")


def test_error_carries_no_trace_of_the_values() -> None:
    with pytest.raises(InvalidParams) as caught:
        validated(GenerationRequest, {"prompt": 7, "seed": "kanarienvogel"})

    chain = (caught.value.__context__, caught.value.__cause__)
    assert chain == (None, None)
    assert "kanarienvogel" not in str(caught.value)


def _problems(body: dict[str, object]) -> list[FieldProblem]:
    try:
        validated(GenerationRequest, body)
    except InvalidParams as error:
        return error.problems
    return []
