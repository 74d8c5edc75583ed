"""Says what is wrong with a field: pydantic's findings as Darkroom's `FieldProblem`s.

One table maps each kind of finding to a sentence, the limit and the nearest value that would pass. Values that came in
are compared with, never repeated; names that came in are repeated only where they look like a field's name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from darkroom.errors import FieldProblem, InvalidParams

_NAME_LIKE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_M = TypeVar("_M", bound=BaseModel)


def validated(model: type[_M], value: object) -> _M:
    """The value as a model.

    Raises:
        InvalidParams: with one problem per field at fault.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        findings = error.errors(include_url=False)
    # Outside the handler, so that no traceback carries pydantic's error, which quotes the values.
    raise InvalidParams([_problem_of(model, item) for item in findings])


def _problem_of(model: type[BaseModel], item: Mapping[str, Any]) -> FieldProblem:
    loc = item["loc"]
    inner = _inner_model(model, loc)
    return field_problem(
        ("body", *loc),
        item,
        known=tuple((inner or model).model_fields),
        nested=inner is not None and isinstance(loc[1], str),
    )


def _inner_model(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model of a field, or of a field's entries, inside which a finding stands."""
    inside = len(loc) > 2 or (len(loc) == 2 and isinstance(loc[1], str))
    field = model.model_fields.get(str(loc[0])) if inside else None
    return next(filter(_is_model, get_args(field.annotation)), None) if field else None


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def field_problem(
    loc: tuple[int | str, ...], finding: Mapping[str, Any], *, known: Collection[str], nested: bool = False
) -> FieldProblem:
    """One of pydantic's findings in our words; `loc` starts with where the value stood: body, query, header."""
    found = _Finding(loc, tuple(known), given=finding.get("input"), ctx=finding.get("ctx", {}), nested=nested)
    fault = _FAULTS.get(finding["type"], _not_valid)(found)
    subject = (
        "" if found.in_list or nested else {"[key]": "a key "}.get(str(loc[-1]), "a value " if len(loc) > 2 else "")
    )
    return FieldProblem(found.field, subject + fault.message, fault.limit, fault.nearest)


@dataclass(frozen=True)
class _Finding:
    loc: tuple[int | str, ...]
    known: tuple[str, ...]  # the fields there are
    given: object
    ctx: Mapping[str, Any]
    nested: bool  # in an object inside the body, not in a list or a mapping

    @property
    def in_list(self) -> bool:
        return len(self.loc) > 2 and isinstance(self.loc[2], int)

    @property
    def field(self) -> str:
        """The field's name, and its place in a list: `adapters[0].scale`. A mapping's keys were named by the caller."""
        if len(self.loc) < 2:
            return str(self.loc[0])
        name = self._shown(self.loc[1])
        if self.nested:
            return f"{name}.{self._shown(self.loc[2])}"
        if not self.in_list:
            return name
        return "".join([f"{name}[{self.loc[2]}]", *(f".{self._shown(part)}" for part in self.loc[3:])])

    def _shown(self, part: int | str) -> str:
        name = str(part)
        return name if name in self.known or _NAME_LIKE.fullmatch(name) else "(unnamed)"


@dataclass(frozen=True)
class _Fault:
    message: str
    limit: str | None = None
    nearest: str | int | float | None = None


_PLURALS: Mapping[str, str] = {"character": "characters", "name": "names", "entry": "entries"}


def _must(limit: str, nearest: str | float | None = None) -> _Fault:
    return _Fault(f"must be {limit}", limit, nearest)


def _bound(word: str, key: str) -> Callable[[_Finding], _Fault]:
    def fault(found: _Finding) -> _Fault:
        bound = found.ctx[key]
        return _must(f"{word} {bound:g}" if isinstance(bound, float) else f"{word} {bound}", bound)

    return fault


def _size(word: str, key: str) -> Callable[[_Finding], _Fault]:
    def fault(found: _Finding) -> _Fault:
        size = found.ctx[key]
        unit = "character" if isinstance(found.given, str) else "name" if isinstance(found.given, Mapping) else "entry"
        limit = f"{word} {size} {unit if size == 1 else _PLURALS[unit]}"
        return _Fault(f"must have {limit}", limit, size)

    return fault


def _type(noun: str) -> Callable[[_Finding], _Fault]:
    return lambda _found: _must(noun)


def _unknown_field(found: _Finding) -> _Fault:
    return _Fault(
        "there is no such field", f"one of {', '.join(found.known)}", closest(str(found.loc[-1]), found.known)
    )


def _literal(found: _Finding) -> _Fault:
    options = re.findall(r"'([^']*)'", str(found.ctx["expected"]))
    nearest = closest(found.given, options) if isinstance(found.given, str) else options[0]
    return _must(f"one of {', '.join(options)}", nearest)


def _own_words(found: _Finding) -> _Fault:
    return _Fault(str(found.ctx["error"]))  # a validator of ours raised it


def _not_valid(_found: _Finding) -> _Fault:
    return _Fault("is not valid")


#: pydantic's error type -> what to say.
_FAULTS: Mapping[str, Callable[[_Finding], _Fault]] = {
    "missing": lambda _found: _Fault("is required"),
    "extra_forbidden": _unknown_field,
    "greater_than_equal": _bound("at least", "ge"),
    "greater_than": _bound("more than", "gt"),
    "less_than_equal": _bound("at most", "le"),
    "less_than": _bound("less than", "lt"),
    "string_too_short": _size("at least", "min_length"),
    "string_too_long": _size("at most", "max_length"),
    "too_short": _size("at least", "min_length"),
    "too_long": _size("at most", "max_length"),
    "literal_error": _literal,
    "enum": _literal,
    "bool_type": _type("true or false"),
    "bool_parsing": _type("true or false"),
    "date_type": _type("a date like 2026-11-30"),
    "date_parsing": _type("a date like 2026-11-30"),
    "date_from_datetime_parsing": _type("a date like 2026-11-30"),
    "date_from_datetime_inexact": _type("a date like 2026-11-30, without a time"),
    "finite_number": _type("a finite number"),
    "float_type": _type("a number"),
    "float_parsing": _type("a number"),
    "int_type": _type("a whole number"),
    "int_parsing": _type("a whole number"),
    "int_parsing_size": _type("a whole number of fewer digits"),
    "int_from_float": _type("a whole number"),
    "string_type": _type("a string"),
    "string_unicode": _type("valid Unicode text, without half surrogate pairs"),
    "mapping_type": _type("an object"),
    "tuple_type": _type("a list"),
    "dict_type": _type("an object"),
    "model_type": _type("a JSON object"),
    "model_attributes_type": _type("a JSON object"),
    "value_error": _own_words,
}


def closest(name: object, names: Collection[str]) -> str | None:
    """The name that holds this one (`steps`), else the one spelt most like it."""
    given = str(name)[:64]
    holders = [known for known in names if len(given) > 2 and given in known]
    close = holders or difflib.get_close_matches(given, names, n=1, cutoff=0.0)
    return close[0] if close else None
