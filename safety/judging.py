"""Between verdicts and what a job's record keeps of them: decision, reason and scores, without places in a text."""

from __future__ import annotations

from collections.abc import Iterable

from darkroom.judgements import Judgement, Score, Waived
from darkroom.near_misses import HELD, REFUSED
from safety.verdict import Category, Decision, Finding, Stage, Verdict, Waiver


def judgement_of(verdict: Verdict, stage: Stage, *, index: int | None = None) -> Judgement:
    """What the record says of the prompt, or of image `index`."""
    return Judgement(
        stage=stage.value,
        decision=verdict.decision.value,
        reason=verdict.reason,
        category=verdict.category.value if verdict.category else None,
        index=index,
        policy=verdict.policy,
        scores=_scores(verdict.findings),
        shadow=_scores(verdict.shadow),
    )


def near_miss_weight(verdict: Verdict) -> float:
    """What a prompt's verdict counts against the key that sent it; what was rewritten counts nothing."""
    return {Decision.BLOCK: REFUSED, Decision.REVIEW: HELD}.get(verdict.decision, 0.0)


def _scores(findings: Iterable[Finding]) -> tuple[Score, ...]:
    """The highest score of each category and layer."""
    best: dict[tuple[str, str], float] = {}
    for finding in findings:
        key = (finding.category.value, finding.layer)
        best[key] = max(best.get(key, 0.0), float(finding.score))
    return tuple(Score(category, layer, score) for (category, layer), score in best.items())


def waivers_of(waived: Iterable[Waived]) -> tuple[Waiver, ...]:
    """What a record waives, as policies take it."""
    return tuple(Waiver(Category(category), layer) for category, layer in waived)
