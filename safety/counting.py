"""Counts what checks found, by check and category.

A check that finds several spots of one category in a text or image counts once: the figure says how often a check
speaks, not how much.
"""

from __future__ import annotations

from darkroom.metrics import Metrics
from safety.verdict import Stage, Verdict


def count_findings(metrics: Metrics, stage: Stage, verdict: Verdict) -> None:
    """Count the findings under the verdict that they led to."""
    for layer, category in {(finding.layer, finding.category) for finding in verdict.findings}:
        metrics.findings.labels(stage, layer, category, verdict.decision).inc()
