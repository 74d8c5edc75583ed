"""Builds the prompt stage that the API runs: the shipped word lists and context rules. Torch-free."""

from __future__ import annotations

from darkroom.settings import RewriterSettings
from safety.pipeline import Check, Observe, SafetyPipeline, unobserved
from safety.policy import Policy, load_policy
from safety.prompt.chat import ChatClient
from safety.prompt.contexts import load_context_rules
from safety.prompt.lists import load_word_lists
from safety.prompt.llm_rewriter import LlmRewriter
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


def all_rewriters(settings: RewriterSettings) -> tuple[Rewriter, ...]:
    """The quick ones, and behind them the language model that the operator names, if any.

    Raises:
        ConfigurationError: a table of replacements is not valid, or the model's URL or a file is no use.
    """
    if settings.url is None:
        return quick_rewriters()
    return (*quick_rewriters(), LlmRewriter(ChatClient(settings)))


def build_prompt_pipeline(
    policy: Policy | None = None, *, rewriter: RewriterSettings | None = None, observe: Observe = unobserved
) -> SafetyPipeline:
    """The prompt stage before a job is stored; `policy` counts where a call names none.

    Raises:
        ConfigurationError: a policy or list file is not valid.
    """
    return SafetyPipeline(
        policy=policy or load_policy(),
        prompt_checks=quick_prompt_checks(),
        rewriters=quick_rewriters() if rewriter is None else all_rewriters(rewriter),
        observe=observe,
    )
