"""Builds the prompt stage that the API runs: the shipped word lists under one policy. Torch-free."""

from __future__ import annotations

from pathlib import Path

from safety.pipeline import SafetyPipeline
from safety.policy import load_policy
from safety.prompt.contexts import load_context_rules
from safety.prompt.lists import load_word_lists
from safety.prompt.wordlist import WordListCheck


def build_prompt_pipeline(policy_name: str | Path = "default") -> SafetyPipeline:
    """Read policy and lists once and build the checks that need no model.

    Raises:
        ConfigurationError: a policy or list file is not valid.
    """
    return SafetyPipeline(
        policy=load_policy(policy_name), prompt_checks=(WordListCheck(load_word_lists(), load_context_rules()),)
    )
