"""Saving a running service, and finishing its jobs from the backup alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest
import redis

from cli.services import find_valkey
from tests.fixtures.ports import free_port
from tests.fixtures.processes import ROOT, Process, eventually
from tests.integration.service import Caller, Service, serving

JOBS = 6


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    """A Valkey that keeps an append-only file in the folder, as operators are told to run it."""
    port = free_port()
    command = [find_valkey(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([*command, "--appendonly", "yes"], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            eventually(lambda: _answers(client))
            client.connection_pool.disconnect()
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _darkroom(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    return subprocess.run(
        [sys.executable, "-m", "cli", "backup", *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.integration
def test_restored_into_empty_stores_every_job_is_finished(tmp_path: Path) -> None:
    backup, valkey = tmp_path / "backup", tmp_path / "valkey"
    with ExitStack() as stack, serving(tmp_path) as service:
        before = Caller(service)
        stack.callback(before.http.close)
        first = before.submit(prompt="a red circle", num_inference_steps=4)
        assert before.result(first)["status"] == "succeeded"
        waiting = [before.submit(prompt="a blue square", num_inference_steps=20) for _ in range(JOBS)]
        done = _darkroom(service.environment, "save", str(backup), "--data", str(tmp_path / "none"))
        assert done.returncode == 0, done.stderr
        service.workers[0].kill()
    shutil.rmtree(tmp_path / "objects")

    laid_out = _darkroom({}, "records", str(backup), str(valkey))
    assert laid_out.returncode == 0, laid_out.stderr
    with ExitStack() as stack:
        port = stack.enter_context(_server(valkey))
        api_port = free_port()
        environment = {
            **service.environment,
            "DARKROOM_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "DARKROOM_PORT": str(api_port),
            "DARKROOM_PUBLIC_URL": f"http://127.0.0.1:{api_port}",
        }
        put_back = _darkroom(environment, "files", str(backup), "--data", str(tmp_path / "none"))
        assert put_back.returncode == 0, put_back.stderr
        for module in ("api", "worker"):
            process = Process(module, environment=environment, log=tmp_path / f"restored-{module}.log")
            stack.callback(process.stop)
        restored = Service(
            url=f"http://127.0.0.1:{api_port}",
            redis=service.redis,
            api=process,
            workers=[],
            environment=environment,
            folder=tmp_path,
            token=service.token,
        )
        after = Caller(restored)
        stack.callback(after.http.close)
        eventually(lambda: _ready(after), seconds=120)
        ended = {job: after.result(job) for job in (first, *waiting)}
        images = [after.download(job["images"][0]) for job in ended.values()]

    assert {job["status"] for job in ended.values()} == {"succeeded"}
    assert all(image.content for image in images)


def test_records_are_never_put_over_others(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "records.rdb").write_bytes(b"REDIS")
    digest = "5fa2b45a0d7ca2ec6a6bb3f1f0e7f1ad0b8e45a8a5a0d5e4f9f3b6c8f1d2e3a4"
    summary = {"taken_at": 0, "records_sha256": digest, "records_bytes": 5, "files": 0}
    (tmp_path / "backup" / "backup.json").write_text(json.dumps(summary))

    changed = _darkroom({}, "records", str(tmp_path / "backup"), str(tmp_path / "empty"))
    unfinished = _darkroom({}, "records", str(tmp_path), str(tmp_path / "empty"))

    assert (changed.returncode, unfinished.returncode) == (2, 2)
    assert "checksum differs" in changed.stderr
    assert "no finished backup" in unfinished.stderr
    assert not (tmp_path / "empty").exists()


def test_a_backup_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    done = _darkroom({}, "save", str(tmp_path))

    assert done.returncode == 2
    assert "is there already" in done.stderr


def _ready(caller: Caller) -> bool:
    try:
        return caller.http.get("/readyz").status_code == 200
    except httpx2.TransportError:
        return False
