"""One call of the job store as a value: which script, which arguments, how to read the answer.

Knows no call by name; those stand beside, by who makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from darkroom.errors import JobNotFound
from darkroom.job_ids import is_job_id
from darkroom.lua_scripts import Script, load_script

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Command(Generic[T_co]):
    """One call of one script."""

    script: Script
    args: tuple[str, ...]
    parse: Callable[[Any], T_co]


def command(name: str, *args: str | float, parse: Callable[[Any], T]) -> Command[T]:
    return Command(script=load_script(name), args=tuple(str(arg) for arg in args), parse=parse)


def known_shape(job_id: str) -> str:
    if not is_job_id(job_id):
        raise JobNotFound
    return job_id


def texts(answer: list[str]) -> list[str]:
    return answer


def nothing(_answer: Any) -> None:
    return None
