"""Makes the model that fleets run: tiny and random, so that a job takes a fraction of a second. Run by a nursery."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "TINY_MODEL_FOLDER"

if __name__ == "__main__":
    from tests.engine.tiny import save_tiny_pipeline  # torch, which the harness itself does without

    save_tiny_pipeline(Path(os.environ[VARIABLE]))
