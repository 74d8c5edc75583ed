"""What guard models answer, as findings: a parser for each family, and its categories as ours.

A parser knows every answer that its family may give. Anything else is no answer at all: a guard that was not understood
must not pass for one that found nothing. Topics that no category of ours names (privacy, politics, attempts to talk a
model round) are reported as `custom`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from darkroom.errors import CheckUnavailable
from safety.verdict import Category

UNSAFE = 1.0  # the default policy blocks
CONTROVERSIAL = 0.6  # the default policy holds for a person

Scores = Mapping[Category, float]
GuardParser = Callable[[str], Scores]

# By the model card of Qwen3Guard-Gen; both spellings of two categories are seen in its answers.
_QWEN3GUARD: Mapping[str, Category] = {
    "violent": Category.violence,
    "non-violent illegal acts": Category.illegal,
    "sexual content or sexual acts": Category.sexual,
    "pii": Category.custom,
    "personally identifiable information": Category.custom,
    "suicide & self-harm": Category.self_harm,
    "unethical acts": Category.harassment,
    "politically sensitive topics": Category.custom,
    "copyright violation": Category.trademark,
    "copyright violations": Category.trademark,
    "jailbreak": Category.custom,
    "none": Category.custom,  # unsafe, but it can't say why
}
_QWEN3GUARD_ANSWER = re.compile(
    r"Safety: (?P<safety>Safe|Controversial|Unsafe)\s*\nCategories: (?P<categories>[^\n]*)(?:\s*\nRefusal: [A-Za-z]+)?"
)
_SEVERITY = {"Controversial": CONTROVERSIAL, "Unsafe": UNSAFE}

# The MLCommons hazards as Llama Guard 3 and 4 number them.
_LLAMA_GUARD: Mapping[str, Category] = {
    "S1": Category.violence,
    "S2": Category.illegal,
    "S3": Category.sexual,  # crimes, trafficking and assault
    "S4": Category.minors,
    "S5": Category.harassment,  # defamation
    "S6": Category.custom,  # specialised advice
    "S7": Category.custom,  # privacy
    "S8": Category.trademark,
    "S9": Category.illegal,  # weapons of mass destruction
    "S10": Category.hate,
    "S11": Category.self_harm,
    "S12": Category.sexual,
    "S13": Category.custom,  # elections
    "S14": Category.custom,  # abuse of code interpreters
}
_LLAMA_GUARD_ANSWER = re.compile(r"safe|unsafe\s*\n\s*(?P<codes>S\d{1,2}(?:\s*,\s*S\d{1,2})*)")


def parse_qwen3guard(answer: str) -> Scores:
    """Qwen3Guard-Gen: a line of severity, a line of categories.

    Raises:
        CheckUnavailable: the answer is of another form.
    """
    said = _QWEN3GUARD_ANSWER.fullmatch(answer.strip())
    if said is None:
        raise _not_understood()
    names = [name.strip().casefold() for name in said["categories"].split(",")]
    score = _SEVERITY.get(said["safety"])
    if score is None:
        if names != ["none"]:
            raise _not_understood()
        return {}
    return _scores(names, _QWEN3GUARD, score)


def parse_llama_guard(answer: str) -> Scores:
    """Llama Guard 3 and 4: `safe`, or `unsafe` and a line of codes.

    Raises:
        CheckUnavailable: the answer is of another form.
    """
    said = _LLAMA_GUARD_ANSWER.fullmatch(answer.strip())
    if said is None:
        raise _not_understood()
    if said["codes"] is None:
        return {}
    return _scores([code.strip() for code in said["codes"].split(",")], _LLAMA_GUARD, UNSAFE)


GUARDS: Mapping[str, GuardParser] = {"qwen3guard": parse_qwen3guard, "llama-guard": parse_llama_guard}


def _scores(names: list[str], table: Mapping[str, Category], score: float) -> Scores:
    if any(name not in table for name in names):
        raise _not_understood()
    return {table[name]: score for name in names}


def _not_understood() -> CheckUnavailable:
    return CheckUnavailable("the guard model answered in another form than its family's")
