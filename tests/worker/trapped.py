"""`python -m tests.worker.trapped`: a worker with traps for tests, which ends or hangs at jobs with certain prompts."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from worker.__main__ import main
from worker.runner import JobRunner

DEADLY = "a deadly prompt"
ENDLESS = "an endless upload"


def set_traps() -> None:
    """The runner as it is, but for two prompts."""
    generate, store = JobRunner._generate, JobRunner._store

    def trapped_generate(self: JobRunner, claim: Any, *more: Any) -> Any:
        images = generate(self, claim, *more)
        if claim.job.params.prompt == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return images

    def trapped_store(self: JobRunner, claim: Any, *results: Any) -> Any:
        if claim.job.params.prompt == ENDLESS:
            time.sleep(600)
        return store(self, claim, *results)

    JobRunner._generate, JobRunner._store = trapped_generate, trapped_store  # type: ignore[method-assign]


if __name__ == "__main__":
    set_traps()
    sys.exit(main())
