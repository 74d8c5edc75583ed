"""The map in docs/structure.md and the tree are the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("darkroom", "engine", "safety", "api", "worker", "training", "cli")
_LINE = re.compile(r"^- `([\w/]+\.(?:py|lua))`: \S")


def _listed() -> set[str]:
    lines = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8").splitlines()
    return {match.group(1) for line in lines if (match := _LINE.match(line))}


def _modules() -> set[str]:
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py"}


def test_every_module_has_its_line_in_the_map() -> None:
    assert sorted(_modules() - _listed()) == []


def test_the_map_names_no_module_that_is_gone() -> None:
    assert sorted(_listed() - _modules()) == []
