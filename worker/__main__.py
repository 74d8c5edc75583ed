"""`python -m worker`: one worker process with the flags that the design needs."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from celery.exceptions import SecurityWarning

from darkroom.errors import DarkroomError
from darkroom.logs import configure_logging
from darkroom.tickets import queue_name
from worker.app import EXIT_FAULT, Settings, WorkerProcess, refuse
from worker.niceness import step_back


def main() -> int:
    """Run until SIGTERM has drained the process; the exit code is 2 for a bad start, 1 for a process that failed."""
    try:
        settings = Settings.from_env()
        configure_logging(settings.log.log_level, service="worker", region=settings.jobs.region)
        step_back(settings.worker.niceness)
        process = WorkerProcess(settings)
    except DarkroomError as error:
        refuse(error)
    # Celery warns of running as root for the sake of pickled messages; ours are JSON.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = process.celery.Worker(
        hostname=process.name,
        pool_cls="threads",
        concurrency=settings.worker.worker_concurrency,
        queues=[queue_name(tier) for tier in settings.worker.tiers],
        loglevel=settings.log.log_level.upper(),
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    if process.drain.reason is not None:
        logging.shutdown()
        os._exit(EXIT_FAULT)  # the interpreter's own end would wait for a device thread that stands still
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
