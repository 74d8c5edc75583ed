"""Runs our own programs for files that strangers sent: each in a fresh interpreter that a file may kill but not use.

A program reads its input on standard input and answers with a line of JSON and then, perhaps, bytes. Its environment
holds no secret.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import darkroom

WALL_SECONDS = 30.0
_ROOT = Path(darkroom.__file__).parents[1]
#: numpy's linear algebra otherwise takes address space for a thread a core, which the programs' limits don't have.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


class ProgramFailed(Exception):
    """The program died, took too long, or answered with something else than it should."""


def run_program(module: str, *arguments: str, data: bytes) -> tuple[Mapping[str, Any], bytes]:
    """The program's facts and its bytes.

    Raises:
        ProgramFailed: it gave none.
    """
    try:
        done = subprocess.run(  # noqa: S603 -- our own program
            [sys.executable, "-s", "-m", module, *arguments],
            input=data,
            capture_output=True,
            timeout=WALL_SECONDS,
            check=True,
            cwd=_ROOT,
            env=_ENVIRONMENT,
        )
        line, _, rest = done.stdout.partition(b"\n")
        facts: Mapping[str, Any] = json.loads(line)
    except (subprocess.SubprocessError, ValueError):
        raise ProgramFailed from None
    return facts, rest
