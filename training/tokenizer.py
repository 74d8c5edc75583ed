"""Makes the model's tokenizer: CLIP's byte-level BPE, with merges learnt from the painter's captions.

Every byte is a token with and without the end-of-word mark, so any text in any language can be tokenized; words of
the captions get a token of their own. Saved as CLIPTokenizer's files plus `tokenizer.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training.dataset import PaintedPictures

MAX_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_MARK = "</w>"


def make_tokenizer(pictures: PaintedPictures, folder: Path, *, captions: int = 4000) -> CLIPTokenizer:
    """Learn merges from the captions and save the tokenizer's files in `folder`."""
    texts = [pictures.caption(index) for index in range(captions)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _learn_merges(texts, alphabet)
    tokens = [*alphabet, *(char + _MARK for char in alphabet)]
    tokens += [word for word in dict.fromkeys(a + b for a, b in merges) if word not in set(tokens)]
    vocabulary = {token: number for number, token in enumerate([*tokens, START, END])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), **_special())
    tokenizer.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def _special() -> dict[str, object]:
    return {
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "model_max_length": MAX_LENGTH,
    }


def _learn_merges(texts: list[str], alphabet: list[str]) -> list[tuple[str, str]]:
    learner = Tokenizer(models.BPE(end_of_word_suffix=_MARK))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=alphabet, end_of_word_suffix=_MARK, show_progress=False, min_frequency=2
    )
    learner.train_from_iterator([text.lower() for text in texts], trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [(a, b) for a, b in merges]
