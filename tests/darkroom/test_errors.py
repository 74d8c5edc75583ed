"""The error tree: every error has a message, a code and a status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from darkroom import errors
from darkroom.errors import (
    DarkroomError,
    FieldProblem,
    InvalidParams,
    InvalidRequest,
    ObjectNotFound,
    Overloaded,
    RateLimited,
    Transient,
)


def _tree(cls: type[DarkroomError]) -> Iterator[type[DarkroomError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _tree(child)


OURS = [cls for cls in _tree(DarkroomError) if cls.__module__ == errors.__name__]


PLAIN = [cls for cls in OURS if not issubclass(cls, (InvalidParams, RateLimited, Overloaded))]  # the rest need facts


@pytest.mark.parametrize("cls", PLAIN)
def test_docstring_is_the_default_message(cls: type[DarkroomError]) -> None:
    message = str(cls())

    assert message == cls().detail == (cls.__doc__ or "").strip().splitlines()[0]
    assert message.endswith(".")


def test_codes_are_unique_words() -> None:
    codes = Counter(cls.code for cls in OURS if "code" in vars(cls))

    assert [code for code, times in codes.items() if times > 1] == []
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


@pytest.mark.parametrize("cls", OURS)
def test_family_decides_the_status(cls: type[DarkroomError]) -> None:
    if issubclass(cls, InvalidRequest):
        assert 400 <= cls.status < 500
    elif issubclass(cls, Transient):
        assert cls.status == 503
    else:
        assert cls.status == 500


def test_own_message_replaces_the_default() -> None:
    assert str(ObjectNotFound("gone")) == "gone"


def test_invalid_params_names_every_field() -> None:
    error = InvalidParams([FieldProblem("width", "too wide"), FieldProblem("seed", "negative")])

    assert str(error) == "width: too wide; seed: negative"
    assert [problem.field for problem in error.problems] == ["width", "seed"]
