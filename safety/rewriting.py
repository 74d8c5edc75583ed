"""Prompts that are changed instead of refused: who proposes a change, and what counts as one.

A proposal is only text. The pipeline has every check judge it again, and nothing proposes a second time, so rewriting
can't loop and can't let through what the checks would not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from darkroom.params import GenerationParams, NegativeText, PromptText
from safety.subjects import PromptSubject
from safety.verdict import Finding, Rewrite

_PROMPT: TypeAdapter[str] = TypeAdapter(PromptText)
_NEGATIVE: TypeAdapter[str] = TypeAdapter(NegativeText)


class Rewriter(Protocol):
    """Proposes another text for a prompt; built once and used from several threads."""

    @property
    def name(self) -> str: ...

    def rewrite(self, subject: PromptSubject, findings: Sequence[Finding]) -> PromptSubject | None:
        """A changed prompt without what was found, or None where it has none to propose."""
        ...


def usable(proposal: object, subject: PromptSubject) -> PromptSubject | None:
    """A rewriter's answer, if it is another prompt that a request could have held, for the same adapters."""
    if not isinstance(proposal, PromptSubject) or proposal.triggers != subject.triggers:
        return None
    try:
        _PROMPT.validate_python(proposal.prompt)
        _NEGATIVE.validate_python(proposal.negative_prompt)
    except ValidationError:
        return None
    return proposal if proposal.prompt.strip() and proposal != subject else None


def with_texts(params: GenerationParams, rewrite: Rewrite) -> GenerationParams:
    """The recipe with other texts."""
    return params.model_copy(update={"prompt": rewrite.prompt, "negative_prompt": rewrite.negative_prompt})
