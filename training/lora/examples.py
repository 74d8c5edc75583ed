"""Pictures and captions, encoded once before training: latents, token ids, and the embeddings of those.

Embeddings are kept only while no text encoder learns; else they would be out of date after one step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from training.lora.base import Base, Words
from training.lora.pictures import Pictures

_BATCH = 16


@dataclass(frozen=True)
class Examples:
    """A training set in memory, by picture."""

    latents: Tensor  # (n, 4, h/8, w/8)
    tokens: Tensor  # (n, tokenizers, 77)
    caption_of: Tensor  # (n,), the caption's place in `words`
    words: Words | None  # of each different caption, float16; None while a text encoder learns

    def __len__(self) -> int:
        return len(self.latents)


def encode_pictures(base: Base, pictures: Pictures, *, size: int, name: str, keep_words: bool) -> Examples:
    """Encode every picture; its caption too, where no text encoder is going to learn."""
    latents, captions = [], []
    progress = iter(tqdm(pictures.read(size), desc=name, total=len(pictures), mininterval=10))
    while pairs := list(islice(progress, _BATCH)):
        latents.append(base.latents([image for image, _ in pairs]))
        captions += [caption for _, caption in pairs]
    different = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    examples = Examples(
        torch.cat(latents),
        base.tokens(captions),
        torch.tensor([different[caption] for caption in captions]),
        None,
    )
    return replace(examples, words=embed(base, base.tokens(list(different)))) if keep_words else examples


@torch.no_grad()
def embed(base: Base, tokens: Tensor) -> Words:
    """Embeddings of many captions, in float16 to spare memory."""
    parts = [base.words(part).to(torch.float16) for part in torch.split(tokens, _BATCH)]
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Words(torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None)
