"""How far a process steps back, read from the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.niceness import AUTOGROUP

PROGRAM = """
import os, threading
from worker.niceness import step_back
step_back({niceness})
thread = threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, 0)))
thread.start()
thread.join()
"""


def stepped_back(niceness: int, *, session: bool = False, after: str = "") -> list[str]:
    program = PROGRAM.format(niceness=niceness) + after
    run = [sys.executable, "-c", program]
    return subprocess.run(run, check=True, capture_output=True, text=True, start_new_session=session).stdout.split("\n")


@pytest.mark.parametrize("niceness", [0, 7])
def test_threads_that_start_later_step_back_too(niceness: int) -> None:
    before = int(stepped_back(0)[0])

    assert int(stepped_back(niceness)[0]) == before + niceness


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this system does not group processes by session")
def test_a_session_of_its_own_steps_back_whole_and_anothers_stays() -> None:
    read = f"print(open('{AUTOGROUP}').read().strip())"

    assert stepped_back(7, session=True, after=read)[1].endswith("nice 7")
    assert not stepped_back(7, after=read)[1].endswith("nice 7")
