"""The plain way, for comparison: a Celery task that is the job, with the settings that its documentation advises.

Late acknowledgement, `reject_on_worker_lost`, prefetch of one, and a visibility timeout short enough that what a dead
worker held comes back within the check. The task writes one line when it begins and one when it is done.
"""

from __future__ import annotations

import json
import os
import time

from celery import Celery

VISIBILITY_SECONDS = 10
app = Celery("plain", broker=os.environ.get("PLAIN_BROKER", "redis://127.0.0.1:6379/0"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


@app.task(name="plain.make")
def make(job: str, seconds: float) -> None:
    """Stand for a job of so many seconds."""
    _write(job, "begin")
    time.sleep(seconds)
    _write(job, "done")


def main() -> None:
    """Be one worker."""
    name, processes = os.environ["PLAIN_NAME"], os.environ["PLAIN_PROCESSES"]
    app.worker_main([
        "worker", "-n", f"{name}@plain", "-c", processes, "-l", "warning",
        "--without-mingle", "--without-gossip", "--without-heartbeat",
    ])  # fmt: skip


def _write(job: str, act: str) -> None:
    file = os.open(os.environ["PLAIN_LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, (json.dumps({"job": job, "act": act}) + "\n").encode())
    finally:
        os.close(file)


if __name__ == "__main__":
    main()
