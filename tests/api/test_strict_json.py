"""The strict JSON reader."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from api.strict_json import parse
from darkroom.errors import MalformedBody

JSON: SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # a busy machine is no failure
@given(JSON)
def test_reads_what_python_writes(value: object) -> None:
    assert parse(json.dumps(value).encode(), max_depth=64) == value


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(MalformedBody):  # anything else fails the test
        parse(body, max_depth=8)


def test_depth_counts_brackets_outside_strings_only() -> None:
    assert parse(b'[["[[[[\\"[[{{"]]', max_depth=2) == [['[[[["[[{{']]
    with pytest.raises(MalformedBody, match="more than 2 levels"):
        parse(b"[[[]]]", max_depth=2)
