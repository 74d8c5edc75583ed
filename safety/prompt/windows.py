"""Cuts a text into windows that a text model can read whole, each overlapping the one before.

A model reads its first few hundred tokens and no more, so what a long prompt says at its end would go unseen. Imports
no model; the tokenizer is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from darkroom.errors import ConfigurationError

BATCH = 16  # windows of one forward pass
_NO_LIMIT = 1_000_000  # tokenizers without a limit of their own say 1e30
_POSITIONS_SPARED = 2  # RoBERTa counts positions from 2


class Windows:
    """The windows of one tokenizer and the model behind it."""

    def __init__(self, tokenizer: Any, config: Any) -> None:
        """Find out how many tokens a window takes; `config` is the (text) model's.

        Raises:
            ConfigurationError: the tokenizer can't give what it leaves out.
        """
        if not tokenizer.is_fast:
            raise ConfigurationError("the text model's tokenizer must be a fast one (tokenizer.json)")
        limit = int(min(tokenizer.model_max_length, _NO_LIMIT))
        positions = getattr(config, "max_position_embeddings", None)
        if limit == _NO_LIMIT:
            limit = positions - _POSITIONS_SPARED if positions else 512
        self.length = min(limit, positions or limit)
        self._tokenizer = tokenizer

    def batches(self, text: str) -> Iterator[dict[str, Any]]:
        """The text's windows as a model takes them, (n, length) each, a few windows at a time."""
        windows = self._tokenizer(
            text,
            truncation=True,
            max_length=self.length,
            stride=self.length // 4,
            return_overflowing_tokens=True,
            padding=True,
            return_tensors="pt",
        )
        windows.pop("overflow_to_sample_mapping", None)
        for start in range(0, len(windows["input_ids"]), BATCH):
            yield {name: values[start : start + BATCH] for name, values in windows.items()}
