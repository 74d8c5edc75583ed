"""Rules about two contexts in one request, as data: a word that is harmless alone, and a category it must not meet.

The rule for minors is one: a word for a child's age anywhere in a request that has a sexual word anywhere. A file lists
the words of one context in one language; the other context is whatever the word lists find in the categories it names.
Knows no text: `wordlist.py` does the matching.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from darkroom.toml_file import read_toml
from safety.prompt.lists import Term
from safety.verdict import Category

CONTEXTS = Path(__file__).parents[1] / "data" / "contexts"


class Ages(BaseModel):
    """Phrases with `{n}` in the place of every number of a range, in digits and as one of the words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phrases: Annotated[tuple[Term, ...], Field(min_length=1)]
    below: Annotated[int, Field(ge=1, le=30)]
    number_words: tuple[Term, ...] = ()

    def terms(self) -> tuple[str, ...]:
        numbers = [*(str(number) for number in range(self.below)), *self.number_words]
        return tuple(phrase.replace("{n}", number) for phrase in self.phrases for number in numbers)


class ContextRule(BaseModel):
    """The words of one context, and the categories that it must not meet in one request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    category: Category  # of the finding when both contexts meet
    score: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    meets: Annotated[tuple[Category, ...], Field(min_length=1)]
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
    licence: str
    terms: tuple[Term, ...]
    ages: tuple[Ages, ...] = ()
    benign: tuple[Term, ...] = ()  # phrases that hold a term and mean something else
    # Terms of the other context that don't count in the negative prompt: listed there, they keep a picture clean.
    excluded_in_negative_prompt: tuple[Term, ...] = ()

    def all_terms(self) -> tuple[str, ...]:
        return (*self.terms, *(term for ages in self.ages for term in ages.terms()))


def load_context_rules(folder: Path = CONTEXTS) -> tuple[ContextRule, ...]:
    """Read every rule of a folder, in the order of the file names.

    Raises:
        ConfigurationError: a file is not valid.
    """
    return tuple(read_toml(path, ContextRule, what="context rule") for path in sorted(folder.glob("*.toml")))
