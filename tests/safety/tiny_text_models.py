"""Text models of a few kilobytes with random weights, saved in the very files that real ones come in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "duck", "storm", "on", "lake", ","]


def _config(**options: object) -> BertConfig:
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.5,  # large, so that different texts score differently
        **options,
    )


def _save_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=24).save_pretrained(folder)


def save_classifier(folder: Path, labels: Mapping[int, str]) -> BertForSequenceClassification:
    torch.manual_seed(0)
    model = BertForSequenceClassification(_config(id2label=dict(labels), num_labels=len(labels))).eval()
    model.save_pretrained(folder)
    _save_tokenizer(folder)
    return model


def save_encoder(folder: Path) -> BertModel:
    torch.manual_seed(0)
    model = BertModel(_config()).eval()
    model.save_pretrained(folder)
    _save_tokenizer(folder)
    return model
