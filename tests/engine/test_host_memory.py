"""The allocator's setting, by what the kernel has to do for a thread that frees and asks again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from engine.host_memory import keep_freed_memory

ROUNDS = 50
PAGES = 8 * 2 * 2**20 // 4096  # of the blocks of one round

# A process of its own, because the setting stays with it.
PROGRAM = """
import json, resource, sys, threading, torch
from engine.host_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
faults = []

def ask_and_free():
    for turn in range(%d + 2):
        blocks = [torch.empty(2**18, dtype=torch.float64).fill_(1) for _ in range(8)]
        del blocks
        if turn == 1:
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

thread = threading.Thread(target=ask_and_free)
thread.start()
thread.join()
print(json.dumps(faults[1] - faults[0]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_thread_gets_the_pages_back_that_it_freed() -> None:
    assert _faults("kept") < 3 * PAGES, "once its memory has settled, no page is asked of the kernel again"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_without_it_the_kernel_is_asked_every_time() -> None:
    assert _faults("as it comes") > ROUNDS // 4 * PAGES, "else the setting has lost its reason"


def test_an_allocator_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM % ROUNDS, how], capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout))
