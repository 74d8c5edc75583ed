"""Row 18: the safety net removed piece by piece. A check that still holds then shows nothing."""

from __future__ import annotations

from dataclasses import replace

from bench.reliability.checks import cancels, workers_killed, zombies
from bench.reliability.trial import Check, Outcome, Trial

SABOTAGE = "bench.reliability.sabotage"
#: What is removed -> the check that must fail then.
PIECES = {
    "without_fence": zombies.CHECK,
    "without_lease": workers_killed.CHECK,
    "without_reaper": workers_killed.CHECK,
    "without_commit_check": cancels.CHECK,
}
SCALE = 0.05


def run(trial: Trial) -> Outcome:
    findings = {
        piece: check.run(
            replace(trial, folder=trial.folder / piece, scale=min(trial.scale, SCALE), hooks=(f"{SABOTAGE}:{piece}",))
        ).broken
        for piece, check in PIECES.items()
    }
    return Outcome(
        figures={"fails": {piece: list(broken) for piece, broken in findings.items()}},
        broken=[f"nothing fails {piece.replace('_', ' ')}" for piece, broken in findings.items() if not broken],
    )


CHECK = Check(
    name="net_bites",
    number=18,
    fault="fence, lease, reaper and commit check removed, one at a time",
    promise="a check fails for each",
    run=run,
)
