"""Scores what a text means: an embedding model reads it, and one small head for each concept says how near it is.

Where lists look for words, this layer knows neighbours of what its heads were trained on, as far as the embedding model
knows the words at all. Needs torch, so only a worker imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from darkroom.errors import ConfigurationError
from safety.prompt.embedder import TextEmbedder
from safety.prompt.semantic_heads import load_heads
from safety.subjects import PromptSubject
from safety.verdict import Finding, PromptField, Stage


class SemanticCheck:
    """An embedding model with its heads."""

    name = "prompt_semantic"
    stage = Stage.PROMPT

    def __init__(self, embedder: Path, heads: Path) -> None:
        """Load both.

        Raises:
            ConfigurationError: one can't be read, or the heads belong to another model.
        """
        self._embedder = TextEmbedder(embedder)
        self._heads = load_heads(heads, embedder=self._embedder.sha256)
        dimensions = self._embedder.embed(["a"]).shape[1]
        if any(len(head.weight) != dimensions for head in self._heads):
            raise ConfigurationError("the semantic heads have another number of dimensions than the embedding model")

    def run(self, subject: PromptSubject) -> list[Finding]:
        """For each text and head, the score of the window that is nearest to the concept."""
        return [
            *self._score(subject.text, PromptField.PROMPT),
            *self._score(subject.negative_prompt, PromptField.NEGATIVE_PROMPT),
        ]

    def _score(self, text: str, where: PromptField) -> Iterator[Finding]:
        if not text.strip():
            return
        vectors = self._embedder.embed_windows(text)
        for head in self._heads:
            score = head.probabilities(vectors).max().item()
            yield Finding(head.info.category, score, self.name, field=where)
