"""Asks a guard model (Qwen3Guard, Llama Guard) behind an OpenAI-compatible URL about a request's texts.

Each text is a question of its own, so that a finding says where it stands and the policy can exempt what people name
in the negative prompt to avoid it. No answer, or one that its family does not give, is no verdict: the runner makes
that `CheckUnavailable`.
"""

from __future__ import annotations

from safety.prompt.chat import ChatClient, Message
from safety.prompt.guard_formats import GuardParser
from safety.subjects import PromptSubject
from safety.verdict import Finding, PromptField, Stage

MAX_TOKENS = 64  # an answer takes about a dozen; one that runs on is cut, and then it is no answer


class GuardCheck:
    """The opinion of one guard model."""

    name = "prompt_guard"
    stage = Stage.PROMPT

    def __init__(self, client: ChatClient, parse: GuardParser) -> None:
        self._client = client
        self._parse = parse

    def run(self, subject: PromptSubject) -> list[Finding]:
        """Ask about each text that says anything.

        Raises:
            CheckUnavailable: no answer, or one that can't be understood.
        """
        return [
            *self._ask(subject.text, PromptField.PROMPT),
            *self._ask(subject.negative_prompt, PromptField.NEGATIVE_PROMPT),
        ]

    def _ask(self, text: str, where: PromptField) -> list[Finding]:
        if not text.strip():
            return []
        scores = self._parse(self._client.ask([Message("user", _as_words(text))], max_tokens=MAX_TOKENS))
        return [Finding(category, score, self.name, field=where) for category, score in scores.items()]


def _as_words(text: str) -> str:
    """The text with no tag in one piece.

    Servers read `<|im_end|>` inside a message as the end of the turn, and what the caller wrote behind it as an answer.
    """
    return text.replace("<", "< ").replace("|>", "| >")
