"""Trains a head of the semantic layer: from texts with labels to a small file that scores every other text.

    python -m training.semantic_head models/darkroom-tiny-clip --painted landscape --category custom --out heads
    python -m training.semantic_head EMBEDDER --examples texts.jsonl --name weapons --category violence --out heads

A text is used once, whatever its label. Of all texts 70 % fit the head (logistic regression with a penalty, both labels
weighing the same), 15 % its calibration, and the last 15 %, which neither saw, are what the printed figures are about.
A head of that name in the output folder is replaced; others stay.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from safety.prompt.embedder import TextEmbedder
from safety.prompt.semantic_heads import WEIGHTS, Head, HeadInfo, load_heads, save_heads
from safety.verdict import Category
from training.captions import caption
from training.scenes import SHAPES, Landscape, Picture, sample_scene

PENALTY = 1e-4  # of the squared weights
MOST_SCALE = 100.0  # texts that can be told apart without a fault would drive a calibration's slope up for ever
LEAST = 20  # texts of each label


@dataclass(frozen=True)
class Example:
    """One text, and whether it is about the concept."""

    text: str
    label: bool


@dataclass(frozen=True)
class Split:
    """The parts of a set of examples, none of which shares a text with another."""

    fit: list[Example]
    calibration: list[Example]
    held_out: list[Example]


@dataclass(frozen=True)
class Counts:
    """What a head does with labelled texts at a bar of 0.5."""

    caught: int
    positives: int
    flagged: int
    negatives: int

    @property
    def accuracy(self) -> float:
        return (self.caught + self.negatives - self.flagged) / (self.positives + self.negatives)


def split_examples(examples: Sequence[Example]) -> Split:
    """Deal each different text to one part, by its own digest: new texts never move old ones."""
    split = Split([], [], [])
    for text, label in {example.text: example.label for example in examples}.items():
        lot = hashlib.sha256(text.encode()).digest()[0] / 256
        part = split.fit if lot < 0.7 else split.calibration if lot < 0.85 else split.held_out
        part.append(Example(text, label))
    return split


def train_head(embedder: TextEmbedder, split: Split, *, name: str, category: Category) -> Head:
    """Fit the weights, then the calibration.

    Raises:
        ValueError: a part has too few texts of one label.
    """
    for part in (split.fit, split.calibration):
        positives = sum(example.label for example in part)
        if min(positives, len(part) - positives) < LEAST // 4:
            raise ValueError(f"at least {LEAST} different texts of each label are needed, better hundreds")
    weight, bias = _fit(*_tensors(embedder, split.fit))
    head = Head(HeadInfo(name=name, category=category, scale=1.0, shift=0.0), weight, bias)
    vectors, labels = _tensors(embedder, split.calibration)
    logits = head.logits(vectors)
    line = torch.tensor([0.0, 0.0], requires_grad=True)  # log of the scale, shift
    _minimise([line], lambda: _balanced_loss(line[0].exp() * logits + line[1], labels) + 1e-3 * line[0] ** 2)
    scale = min(line[0].exp().item(), MOST_SCALE)
    return Head(HeadInfo(name=name, category=category, scale=scale, shift=line[1].item()), weight, bias)


def _fit(vectors: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Weight and bias. Unit vectors of one model lie close together, so they are spread out for the fit."""
    mean, deviation = vectors.mean(0), vectors.std(0) + 1e-6
    spread = (vectors - mean) / deviation
    weights = torch.zeros(vectors.shape[1] + 1, requires_grad=True)
    _minimise([weights], lambda: _balanced_loss(spread @ weights[:-1] + weights[-1], labels) + _penalty(weights))
    weight = weights.detach()[:-1] / deviation
    return weight, (weights.detach()[-1] - weight @ mean).item()


def count(head: Head, embedder: TextEmbedder, examples: Sequence[Example]) -> Counts:
    """How often the head says yes, by label."""
    if not examples:
        return Counts(0, 0, 0, 0)
    vectors, labels = _tensors(embedder, examples)
    yes, is_positive = head.probabilities(vectors) >= 0.5, labels > 0.5
    return Counts(
        caught=int((yes & is_positive).sum()),
        positives=int(is_positive.sum()),
        flagged=int((yes & ~is_positive).sum()),
        negatives=int((~is_positive).sum()),
    )


def painted_examples(concept: str, *, amount: int, seed: int) -> list[Example]:
    """Captions of painted pictures, half of them of pictures that show a `landscape`, or the shape of that name."""
    rng = random.Random(seed)
    found: dict[bool, list[Example]] = {True: [], False: []}
    while min(len(part) for part in found.values()) < amount // 2:
        picture = sample_scene(rng)
        label = shows(picture, concept)
        if len(found[label]) < amount // 2:
            found[label].append(Example(caption(picture, rng), label))
    return found[True] + found[False]


def shows(picture: Picture, concept: str) -> bool:
    if isinstance(picture, Landscape):
        return concept == "landscape"
    return any(thing.shape == concept for thing in picture.things)


def read_examples(path: Path) -> list[Example]:
    """Read lines like `{"text": "...", "label": true}`.

    Raises:
        ValueError: a line is something else.
    """
    examples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        entry = json.loads(line)
        if set(entry) != {"text", "label"} or not isinstance(entry["label"], bool) or not str(entry["text"]).strip():
            raise ValueError(f"line {number} is not an object with a text and a label that is true or false")
        examples.append(Example(str(entry["text"]), entry["label"]))
    return examples


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one head and write it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    name = options.name or options.painted
    if name is None:
        parser.error("--examples needs a --name")
    embedder = TextEmbedder(options.embedder)
    if options.painted:
        examples = painted_examples(options.painted, amount=options.amount, seed=0)
    else:
        examples = read_examples(options.examples)
    split = split_examples(examples)
    head = train_head(embedder, split, name=name, category=Category(options.category))
    others: list[Head] = []
    if (options.out / WEIGHTS).exists():
        old = load_heads(options.out, embedder=embedder.sha256)
        others = [other for other in old if other.info.name != head.info.name]
    save_heads(options.out, [*others, head], embedder=embedder.sha256)
    counts = count(head, embedder, split.held_out)
    print(
        f"{head.info.name}: of {counts.positives} held-out texts about it {counts.caught} are caught; "
        f"of {counts.negatives} others {counts.flagged} are flagged"
    )


def _tensors(embedder: TextEmbedder, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    vectors = embedder.embed([example.text for example in examples])
    return vectors, torch.tensor([float(example.label) for example in examples])


def _balanced_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    positives = labels.mean()
    weights = torch.where(labels > 0.5, 0.5 / positives, 0.5 / (1 - positives))
    return functional.binary_cross_entropy_with_logits(logits, labels, weights)


def _penalty(weights: torch.Tensor) -> torch.Tensor:
    return PENALTY * weights[:-1].square().sum()


def _minimise(parameters: list[torch.Tensor], loss: Callable[[], torch.Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.semantic_head", description="Train a semantic head.")
    parser.add_argument("embedder", type=Path, help="folder of the embedding model")
    texts = parser.add_mutually_exclusive_group(required=True)
    texts.add_argument("--examples", type=Path, help="texts with labels, one JSON object a line")
    texts.add_argument("--painted", choices=("landscape", *SHAPES), help="captions of painted pictures")
    parser.add_argument("--amount", type=int, default=8_000, help="captions to draw for --painted")
    parser.add_argument("--name", help="name of the head; by default that of --painted")
    parser.add_argument("--category", required=True, choices=[str(category) for category in Category])
    parser.add_argument("--out", type=Path, required=True, help="folder of the heads")
    return parser


if __name__ == "__main__":
    main()
