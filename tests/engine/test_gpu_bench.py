"""The program for accelerators runs, on a CPU and on small models of the same build."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.engine import gpu
from bench.engine.full_size import FULL_SIZES


@pytest.mark.slow
@pytest.mark.parametrize("model", FULL_SIZES)
def test_it_writes_every_figure(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "figures.json"
    small = "--device cpu --dtype float32 --shrink 10 --side 64 --rounds 1 --burst 2 --serial 1 --matrix 256"
    monkeypatch.setattr(sys, "argv", ["gpu", "--model", model, "--out", str(out), *small.split()])

    gpu.main()

    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["matrix_teraflops"] > 0
    assert set(figures["forwards"]["eager"]) == {"1", "2", "4", "6", "8", "12", "16", "24", "32"}
    assert figures["engine"][0] > 0
    assert figures["p0"][0] > 0
    assert "share_of_roof" not in figures, "a small model has another count of operations"
