"""Finds the commands that the documentation tells people to run against a service.

Fenced blocks marked `bash` and `python` are those; they use DARKROOM_URL and DARKROOM_API_KEY. Blocks marked `sh` set
things up and are run by hand; other marks are not commands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """The commands of one language on one page, in their order; later ones may use what earlier ones set."""

    page: str
    language: str
    code: str

    def page_text(self) -> str:
        return (ROOT / self.page).read_text(encoding="utf-8")

    def __str__(self) -> str:
        return f"{self.page}:{self.language}"


def find_snippets() -> list[Snippet]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [snippet for page in pages for snippet in _snippets_of(page)]


def _snippets_of(page: Path) -> list[Snippet]:
    blocks: dict[str, list[str]] = {}
    for language, code in FENCE.findall(page.read_text(encoding="utf-8")):
        blocks.setdefault(language, []).append(code)
    name = str(page.relative_to(ROOT))
    return [Snippet(page=name, language=language, code="\n".join(codes)) for language, codes in blocks.items()]
