"""A short soak; `python -m bench.engine.soak` is the long one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bench.engine.soak import ADAPTERS, SLOTS, Soak, soaked_engine

pytestmark = pytest.mark.slow
MOST_GROWTH = 24 << 20  # bytes over the second half: the allocator's own unrest, and far less than what jobs need


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_jobs_of_all_kinds_with_adapters_that_come_and_go_leave_nothing_behind(
    tmp_path: Path, captured_logs: list[Any]
) -> None:
    with soaked_engine(tmp_path) as engine:
        engine.load("tiny")
        soak = Soak(engine)
        first, half, _, last = soak.marks(200, block=50)
        stats = engine.stats()

    assert last.jobs == sum(soak.outcomes.values()) == 200
    assert soak.outcomes.keys() == {"succeeded", "cancelled", "generation_failed"}
    assert soak.outcomes["succeeded"] > 140
    assert first.tensors == last.tensors
    assert last.resident - half.resident < MOST_GROWTH
    assert (stats.rows, stats.waiting, stats.running, stats.denoised) == (0, 0, 0, 0)
    assert len(stats.adapters) <= SLOTS
    loads = sum(entry["event"] == "adapter_loaded" for entry in captured_logs)
    assert loads > 2 * ADAPTERS, "adapters must have come and gone"
