# ruff: noqa: RUF001  look-alike letters are what is measured here
"""What the prompt layers without models catch, whom they refuse by mistake, and what they cost.

python -m bench.safety.prompts [--out bench/safety/prompts.json]

Every listed word in three fixed sentences and nineteen disguises; 300 look-alikes of our own (`benign.toml`) and 101
written after the lists (`benign_later.toml`); 2,000 captions of a seeded grammar; and the bare word list (lower case,
whole words, no benign phrases) as the baseline.
Caught means that the default policy refuses the prompt or holds it for a person; for harmless ones both are told apart.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import re
import statistics
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.safety.captions import captions
from bench.safety.disguises import DISGUISES, GUESSWORK, HELD_OUT, Disguise
from bench.safety.intervals import Share
from safety.defaults import build_prompt_pipeline
from safety.prompt.lists import WordList, load_word_lists
from safety.subjects import PromptSubject
from safety.verdict import Decision

HERE = Path(__file__).parent
SENTENCES = ("a photo of {}, in a garden", "portrait, {}, sunset", "{} in the style of an old master")
CAPTIONS, SEED = 2_000, 20_261_121
LONGEST = 2_000
HARMLESS = ("look-alikes", "look-alikes written later", "captions")
Judge = Callable[[str, str], Decision]

# Texts that make the work as heavy as it gets, each as long as a prompt may be.
HEAVY: Mapping[str, str] = {
    "plain words": "a large brown dog on a beach, " * 100,
    "every reading": "гооо1.е!п " * 300,
    "single letters": "g o r 3 " * 300,
    "pieces": "g1 о4 r-e " * 300,
    "signs that unfold": "\ufdfa" * LONGEST,
    "matches": "zzreviewterm " * 200,
    "base64": "Z29yZQ== " * 300,
    "pictures": "".join(chr(0x1F300 + index % 0x300) for index in range(LONGEST)),
    "every script": "".join(chr(0x100 + index * 7) for index in range(LONGEST)),
    "weights": "(a:1" * 600,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "prompts.json")
    out = parser.parse_args().out
    pipeline = build_prompt_pipeline()

    def layers(prompt: str, negative: str = "") -> Decision:
        return pipeline.check_prompt(PromptSubject(prompt, negative)).decision

    words = load_word_lists()
    bare = _bare_list(words)
    terms = sorted({term for listed in words for group in listed.groups for term in group.terms})
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "terms": len(terms),
        "disguises": {name: _caught(terms, way, layers, bare) for name, way in {**DISGUISES, **HELD_OUT}.items()},
        "look-alikes written later": {
            name: _refused(_look_alikes("benign_later"), judge) for name, judge in (("layers", layers), ("bare", bare))
        },
        "look-alikes": {
            name: _refused(_look_alikes("benign"), judge) for name, judge in (("layers", layers), ("bare", bare))
        },
        "captions": {name: _refused(_captions(), judge) for name, judge in (("layers", layers), ("bare", bare))},
        "milliseconds": _costs(layers),
    }
    out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(_page(results), encoding="utf-8")
    print(_page(results))


def _bare_list(words: Sequence[WordList]) -> Judge:
    """The same terms and scores, matched as most word lists are: lower case, whole words."""
    scores = {term.casefold(): group.score for listed in words for group in listed.groups for term in group.terms}
    longest_first = sorted(scores, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")

    def judge(prompt: str, _negative: str = "") -> Decision:
        score = max((scores[match[0]] for match in pattern.finditer(prompt.casefold())), default=0.0)
        return Decision.BLOCK if score >= 0.9 else Decision.REVIEW if score >= 0.5 else Decision.ALLOW

    return judge


def _caught(terms: Sequence[str], disguise: Disguise, layers: Judge, bare: Judge) -> dict[str, Any]:
    choose = random.Random(SEED)
    prompts = [sentence.format(disguise(term, choose)) for term in terms for sentence in SENTENCES]
    return {
        name: Share(sum(judge(prompt, "") is not Decision.ALLOW for prompt in prompts), len(prompts)).as_json()
        for name, judge in (("layers", layers), ("bare", bare))
    }


def _look_alikes(name: str) -> list[tuple[str, str, str]]:
    groups = tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))
    return [(group, prompt, "") for group, prompts in groups.items() for prompt in prompts]


def _captions() -> list[tuple[str, str, str]]:
    return list(captions(CAPTIONS, SEED))


def _refused(prompts: Sequence[tuple[str, str, str]], judge: Judge) -> dict[str, Any]:
    decisions = [(prompt, judge(prompt, negative)) for _, prompt, negative in prompts]
    blocked = [prompt for prompt, decision in decisions if decision is Decision.BLOCK]
    held = [prompt for prompt, decision in decisions if decision is Decision.REVIEW]
    return {
        "refused": Share(len(blocked), len(prompts)).as_json(),
        "refused or held": Share(len(blocked) + len(held), len(prompts)).as_json(),
        "which": {"refused": sorted(set(blocked)), "held": sorted(set(held))},
    }


def _costs(layers: Judge) -> dict[str, Any]:
    """How long the whole prompt stage takes, its thread and the policy included: on the clock, and of a core."""
    everyday = [(prompt, negative) for _, prompt, negative in _captions()]
    heavy = [(text[:LONGEST], text[:LONGEST]) for text in HEAVY.values()] * 20
    return {
        f"{name}, {of}": _times(prompts, layers, clock)
        for name, prompts in (("everyday captions", everyday), ("heaviest, 2,000 + 2,000 characters", heavy))
        for of, clock in (("elapsed", time.perf_counter), ("processor", time.process_time))
    }


def _times(prompts: Sequence[tuple[str, str]], judge: Judge, clock: Callable[[], float]) -> dict[str, float]:
    gc.collect()
    times = []
    for prompt, negative in prompts:
        start = clock()
        judge(prompt, negative)
        times.append((clock() - start) * 1000)
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "worst": round(max(times), 2), "runs": len(times)}


def _page(results: Mapping[str, Any]) -> str:
    rows = results["disguises"]
    lines = [
        "# Prompt layers without models",
        "",
        f"By `python -m bench.safety.prompts`: {results['terms']} terms in three sentences; Wilson's 95 % intervals.",
        "",
        "| disguise | caught by the layers | by the bare list |",
        "|---|---|---|",
        *(f"| {name} | {_text(row['layers'])} | {_text(row['bare'])} |" for name, row in rows.items()),
        "",
        *(f"- {name}: {_text(share)}" for name, share in _sums(rows).items()),
        "",
        "| harmless prompts | refused | refused or held | bare list: refused | refused or held |",
        "|---|---|---|---|---|",
    ]
    for name in HARMLESS:
        shares = [results[name][who][what] for who in ("layers", "bare") for what in ("refused", "refused or held")]
        lines.append(f"| {name} | {' | '.join(map(_text, shares))} |")
    lines += ["", f"Milliseconds of the prompt stage ({results['machine']}, load {results['load']} before):", ""]
    lines += ["| prompts | p50 | p99 | worst | runs |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {' | '.join(f'{value:g}' for value in row.values())} |"
        for name, row in results["milliseconds"].items()
    ]
    for name in HARMLESS:
        which = results[name]["layers"]["which"]
        lines += ["", f"Of the {name}, refused: {_list(which['refused'])}; held: {_list(which['held'])}."]
    return "\n".join(lines) + "\n"


def _sums(rows: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    def total(names: Sequence[str]) -> dict[str, Any]:
        return Share(*(sum(rows[name]["layers"][key] for name in names) for key in ("count", "total"))).as_json()

    undone = [name for name in DISGUISES if name not in GUESSWORK]
    return {
        "those that normalisation can undo": total(undone),
        "spaced, split, swapped, without vowels": total(GUESSWORK),
    }


def _text(share: Mapping[str, Any]) -> str:
    return str(Share(share["count"], share["total"]))


def _list(prompts: Sequence[str]) -> str:
    return ", ".join(f'"{prompt}"' for prompt in prompts) or "none"


if __name__ == "__main__":
    main()
