"""Where torch is not installed, the tests of checks that run models are left out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

_NEEDS_TORCH = re.compile(r"^(?:import torch|from (?:torch|transformers|training))\b", re.MULTILINE)

if importlib.util.find_spec("torch") is None:
    collect_ignore = [
        path.name
        for path in Path(__file__).parent.glob("test_*.py")
        if _NEEDS_TORCH.search(path.read_text(encoding="utf-8"))
    ]
