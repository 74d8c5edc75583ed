"""Builds the prompt stage that the API runs: the shipped word lists and context rules. Torch-free."""

from __future__ import annotations

from safety.pipeline import Check, SafetyPipeline
from safety.policy import Policy, load_policy
from safety.prompt.contexts import load_context_rules
from safety.prompt.lists import load_word_lists
from safety.prompt.replacements import TableRewriter, load_replacements
from safety.prompt.wordlist import WordListCheck
from safety.rewriting import Rewriter
from safety.subjects import PromptSubject


def quick_prompt_checks() -> tuple[Check[PromptSubject], ...]:
    """The checks on prompts that need no model, built anew.

    Raises:
        ConfigurationError: a list file is not valid.
    """
    return (WordListCheck(load_word_lists(), load_context_rules()),)


def quick_rewriters() -> tuple[Rewriter, ...]:
    """What proposes other prompts and needs no model.

    Raises:
        ConfigurationError: a table of replacements is not valid.
    """
    return (TableRewriter(load_replacements()),)


def build_prompt_pipeline(policy: Policy | None = None) -> SafetyPipeline:
    """The prompt stage before a job is stored; `policy` counts where a call names none.

    Raises:
        ConfigurationError: a policy or list file is not valid.
    """
    return SafetyPipeline(
        policy=policy or load_policy(), prompt_checks=quick_prompt_checks(), rewriters=quick_rewriters()
    )
