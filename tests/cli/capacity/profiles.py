"""An engine with round numbers, and jobs for it."""

from __future__ import annotations

from cli.capacity.demand import Kind, TierDemand
from cli.capacity.profile import EngineProfile

# One guided image a forward takes 0.1 s; four (8 rows) take 0.16 s.
ROUND = EngineProfile(
    name="round",
    basis="made up",
    side=512,
    rows={2: 0.10, 4: 0.12, 8: 0.16},
    image_seconds=0.0,
    ticket_seconds=0.0,
    claim_seconds=0.0,
    finish_seconds=0.0,
    max_rows=8,
)
TEN_STEPS = Kind(steps=10, width=512, height=512)


def demand(per_hour: float | list[float] = 3_600.0, *, wait_seconds: float = 2.0, kind: Kind = TEN_STEPS) -> TierDemand:
    return TierDemand(per_hour=per_hour, mix=[kind], wait_seconds=wait_seconds)
