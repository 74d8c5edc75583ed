"""Builds the checks on prompts that only a worker runs, from its settings: those that ask or load models.

What is not configured is not there; a policy that requires it then lets nothing through. What is configured and can't
be loaded stops the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from darkroom.settings import GuardSettings, PromptModelSettings, RewriterSettings
from safety.pipeline import Check
from safety.prompt.chat import ChatClient
from safety.prompt.classifier import ClassifierCheck, load_label_table
from safety.prompt.guard import GuardCheck
from safety.prompt.guard_formats import GUARDS
from safety.prompt.semantic import SemanticCheck
from safety.subjects import PromptSubject


@dataclass(frozen=True)
class CheckSettings:
    """What a worker reads from the environment about them."""

    guard: GuardSettings
    models: PromptModelSettings
    rewriter: RewriterSettings

    @classmethod
    def from_env(cls) -> CheckSettings:
        return cls(
            guard=GuardSettings.from_env(), models=PromptModelSettings.from_env(), rewriter=RewriterSettings.from_env()
        )


def slow_prompt_checks(settings: CheckSettings) -> tuple[Check[PromptSubject], ...]:
    """The checks on prompts that are too slow for the API, quick ones first.

    Raises:
        ConfigurationError: a model or a file is no use.
    """
    models, checks = settings.models, list[Check[PromptSubject]]()
    if models.semantic_embedder and models.semantic_heads:
        checks.append(SemanticCheck(models.semantic_embedder, models.semantic_heads))
    if models.prompt_classifier and models.prompt_labels:
        checks.append(ClassifierCheck(models.prompt_classifier, load_label_table(models.prompt_labels)))
    if settings.guard.url:
        checks.append(GuardCheck(ChatClient(settings.guard), GUARDS[settings.guard.format]))
    return tuple(checks)
