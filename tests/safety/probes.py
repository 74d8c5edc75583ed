"""What the pipeline's tests are made of: checks whose answer a test chooses, and pipelines of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safety.pipeline import PromptSubject, SafetyPipeline
from safety.policy import Policy
from safety.verdict import Category, Finding, Stage

SECRET = "the-callers-own-words"
HARMLESS = Policy.model_validate({"schema": 1, "name": "harmless", "version": 3})


class ProbeCheck:
    """A check whose answer a test chooses; it notes what it was asked."""

    def __init__(self, answer: Callable[[Any], Any], *, name: str = "probe", stage: Stage = Stage.PROMPT) -> None:
        self.name = name
        self.stage = stage
        self.asked: list[Any] = []
        self.answer = answer

    def run(self, subject: Any) -> Any:
        self.asked.append(subject)
        return self.answer(subject)


def found(score: Any, category: Any = Category.custom) -> list[Finding]:
    return [Finding(category, score, "probe")]


def fail(subject: PromptSubject) -> list[Finding]:
    raise ValueError(f"can't judge {subject.prompt}")


def make_pipeline(*checks: ProbeCheck, policy: Policy = HARMLESS, timeout_seconds: float = 30.0) -> SafetyPipeline:
    return SafetyPipeline(policy=policy, prompt_checks=checks, timeout_seconds=timeout_seconds)
