"""Lists of words as data: one TOML file for each category and language under `safety/data/words/`.

A list has groups of terms that share a score, and benign phrases that contain a term and mean no harm. Loading checks
the files; matching is `wordlist.py`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from darkroom.errors import ConfigurationError
from darkroom.toml_file import read_toml
from safety.verdict import Category

WORD_LISTS = Path(__file__).parents[1] / "data" / "words"
# One letter is no term; one emoji is.
Term = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100, pattern=r"^(?:..|[^\x00-\x7f])")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TermGroup(_Part):
    """Terms with one score: 1 where the word alone is clear, about 0.6 where a person should look."""

    score: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    terms: Annotated[tuple[Term, ...], Field(min_length=1)]


class HarmlessPairs(_Part):
    """Things that a term before them says something harmless about: "naked" and "walls"."""

    terms: Annotated[tuple[Term, ...], Field(min_length=1)]
    between: tuple[Term, ...] = ()  # words that may stand between the two
    before: Annotated[tuple[Term, ...], Field(min_length=1)]

    def phrases(self) -> tuple[str, ...]:
        middles = ("", *(f"{word} " for word in self.between))
        return tuple(f"{term} {middle}{thing}" for term in self.terms for middle in middles for thing in self.before)


class WordList(_Part):
    """The terms of one category in one language."""

    schema_version: Literal[1] = Field(alias="schema")
    category: Category
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]  # ISO 639; "und" for no language
    licence: str
    groups: Annotated[tuple[TermGroup, ...], Field(min_length=1)]
    benign: tuple[Term, ...] = ()
    harmless: tuple[HarmlessPairs, ...] = ()

    def all_benign(self) -> tuple[str, ...]:
        """The benign phrases, with each term before each of its harmless things."""
        return (*self.benign, *(phrase for pairs in self.harmless for phrase in pairs.phrases()))


def load_word_lists(folder: Path = WORD_LISTS) -> tuple[WordList, ...]:
    """Read every list of a folder, in the order of the file names.

    Raises:
        ConfigurationError: a file is not valid, or there is none.
    """
    lists = tuple(read_toml(path, WordList, what="word list") for path in sorted(folder.glob("*.toml")))
    if not lists:
        raise ConfigurationError(f"there are no word lists in {folder}")
    return lists
