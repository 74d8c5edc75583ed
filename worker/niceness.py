"""Lets this process step back behind others on its machine, so that HTTP answers do not wait for images."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")  # Linux may weigh sessions against each other first (sched(7), autogroup)


def step_back(niceness: int) -> None:
    """Call it before any thread starts, for each keeps what it began with. A session goes with its first process."""
    if not niceness:
        return
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # another system, or one without it
            AUTOGROUP.write_text(str(niceness))
