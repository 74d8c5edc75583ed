"""Measures the semantic layer on the shipped stand-in: what its head catches, what it flags, and where it fails.

    python -m bench.safety.semantic

The shipped head looks for landscapes in the painter's captions. Measured on captions that neither it nor its
calibration has read; beside it, heads trained here in the same way for two questions that the embedding model answers
badly: a shape among other words, and landscapes by a word that the head's training left out.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import quantiles

from bench.safety.intervals import Share
from safety.prompt.embedder import TextEmbedder
from safety.prompt.semantic import SemanticCheck
from safety.prompt.semantic_heads import Head, load_heads
from safety.subjects import PromptSubject
from safety.verdict import Category
from training.captions import caption, plain_prompt
from training.scenes import LAND, SHAPES, Landscape, held_out_combinations, sample_scene
from training.semantic_head import Counts, Example, count, painted_examples, split_examples, train_head

MODELS = Path("models")
CLIP, HEADS = MODELS / "darkroom-tiny-clip", MODELS / "darkroom-tiny-semantic"
TRAINED_ON, FRESH = 0, 1_000  # seeds of the painter's captions
Row = Mapping[str, object]


def main() -> None:
    """Measure, print and write both files."""
    embedder = TextEmbedder(CLIP)
    (shipped,) = load_heads(HEADS, embedder=embedder.sha256)
    rows = [
        _row("shipped head: captions it never read", count(shipped, embedder, _fresh("landscape"))),
        _row("shipped head: held-out combinations of shape, colour, background", _combinations(shipped, embedder)),
    ]
    rows += [_shape_row(embedder, shape) for shape in SHAPES]
    rows += [_unseen_word_row(embedder, word) for word in LAND]
    cost = _milliseconds()
    result = {"rows": rows, "milliseconds": cost}
    target = Path("bench/safety/semantic")
    target.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    page = _page(rows, cost)
    target.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def _fresh(concept: str) -> list[Example]:
    """Captions of another seed, without any text that the training of that seed's head could have read."""
    known = {example.text for example in painted_examples(concept, amount=8_000, seed=TRAINED_ON)}
    fresh = {example.text: example for example in painted_examples(concept, amount=8_000, seed=FRESH)}
    return [example for text, example in fresh.items() if text not in known]


def _combinations(head: Head, embedder: TextEmbedder) -> Counts:
    texts = [plain_prompt(*combination) for combination in held_out_combinations()]
    return count(head, embedder, [Example(text, label=False) for text in texts])


def _shape_row(embedder: TextEmbedder, shape: str) -> Row:
    split = split_examples(painted_examples(shape, amount=8_000, seed=TRAINED_ON))
    head = train_head(embedder, split, name=shape, category=Category.custom)
    return _row(f"a head for `{shape}`: held-out captions", count(head, embedder, split.held_out))


def _unseen_word_row(embedder: TextEmbedder, word: str) -> Row:
    """Train on landscapes without one word; ask about landscapes that only that word shows."""
    rng = random.Random(TRAINED_ON)
    known, asked = [], []
    for picture in (sample_scene(rng) for _ in range(16_000)):
        landscape = isinstance(picture, Landscape)
        text = caption(picture, rng)
        if not (isinstance(picture, Landscape) and word in picture.parts):
            known.append(Example(text, landscape))
        elif picture.parts == (word,):
            asked.append(Example(text, label=True))
    head = train_head(embedder, split_examples(known), name=word, category=Category.custom)
    different = list({example.text: example for example in asked}.values())
    return _row(f"landscapes by `{word}` alone, a word the head's training left out", count(head, embedder, different))


def _milliseconds() -> Mapping[str, float]:
    """What one request costs, model included."""
    check = SemanticCheck(CLIP, HEADS)
    texts = [example.text for example in _fresh("landscape")[:200]]
    long = [(text * 60)[:2_000] for text in texts]
    return {"one window": _median(check, texts), "2,000 characters": _median(check, long)}


def _median(check: SemanticCheck, texts: Sequence[str]) -> float:
    taken = []
    for text in texts:
        started = time.perf_counter()
        check.run(PromptSubject(text))
        taken.append((time.perf_counter() - started) * 1_000)
    return round(quantiles(taken, n=2)[0], 2)


def _row(what: str, counts: Counts) -> Row:
    caught, flagged = Share(counts.caught, counts.positives), Share(counts.flagged, counts.negatives)
    return {"what": what, "caught": caught.as_json(), "flagged": flagged.as_json()}


def _page(rows: Sequence[Row], cost: Mapping[str, float]) -> str:
    lines = [
        "# The semantic layer on a harmless stand-in",
        "",
        "By `python -m bench.safety.semantic`: heads over the text vectors of `models/darkroom-tiny-clip`, at a bar of",
        "0.5, on captions that were used neither for the head nor for its calibration. Shares with 95 % intervals.",
        "",
        "| what | about the concept, caught | about something else, flagged |",
        "|---|---|---|",
    ]
    lines += [f"| {row['what']} | {_cell(row['caught'])} | {_cell(row['flagged'])} |" for row in rows]
    lines += ["", "Median time of one request on one CPU thread, among other work on the machine:", ""]
    lines += [f"- {what}: {milliseconds} ms" for what, milliseconds in cost.items()]
    return "\n".join(lines) + "\n"


def _cell(share: object) -> str:
    assert isinstance(share, dict), "rows hold shares"
    return str(Share(share["count"], share["total"])) if share["total"] else "none asked"


if __name__ == "__main__":
    main()
