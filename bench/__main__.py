"""Runs every measurement, one after the other: `python -m bench`. Each writes its own page beside itself."""

from __future__ import annotations

import subprocess
import sys

MODEL = "models/darkroom-tiny"
MEASUREMENTS = (
    ("bench.api",),
    ("bench.service_cost", MODEL),
    ("bench.parity", MODEL),
    ("bench.batching", MODEL),
    ("bench.adherence",),
    ("bench.styles",),
)


def main() -> None:
    """Run them all; stop at the first that fails."""
    for module, *arguments in MEASUREMENTS:
        print(f"== {module}", flush=True)
        subprocess.run([sys.executable, "-m", module, *arguments], check=True)


if __name__ == "__main__":
    main()
