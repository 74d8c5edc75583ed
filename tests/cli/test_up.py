"""`darkroom up` as a whole: real Valkey, API and worker processes with the shipped model."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.processes import descendants, eventually, still_alive
from tests.cli.running import Running, darkroom_up, run_darkroom

pytestmark = pytest.mark.integration


def answers(service: Running, path: str = "/readyz") -> bool:
    try:
        service.get(path)
    except (urllib.error.URLError, OSError):
        return False
    return True


def test_json_is_one_line_with_url_key_and_process_ids(service: Running) -> None:
    assert service.url.startswith("http://127.0.0.1:")
    assert service.api_key.startswith("dk_")
    assert sorted(service.pids) == ["api", "delivery", "valkey", "worker-1"]
    assert {os.getpgid(pid) for pid in service.pids.values()} == set(service.pids.values())
    assert answers(service)


def test_a_second_up_on_the_same_folder_says_that_one_runs(service: Running) -> None:
    done = run_darkroom("up", "--port", "0", "--data", str(service.data))

    assert done.returncode == 2
    assert f"already runs on {service.data} at {service.url}" in done.stderr
    assert done.stdout == ""


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        done = run_darkroom("up", "--json", "--port", str(port), "--data", str(tmp_path))

    assert done.returncode == 2
    assert f"Port {port} is taken by another program" in done.stderr
    assert done.stdout == ""


def test_a_broken_catalogue_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalogue.toml").write_text("[models.x]\nsource = 3\n")
    monkeypatch.setenv("DARKROOM_CATALOGUE", str(tmp_path / "catalogue.toml"))

    done = run_darkroom("up", "--port", "0", "--data", str(tmp_path / "data"))

    assert done.returncode == 2
    assert "catalogue.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_not_there_ends_the_start_with_the_workers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = '[models.lost]\nsource = { folder = "nowhere" }\nlicence = "none"\nnative_sizes = [[64, 64]]\n'
    (tmp_path / "catalogue.toml").write_text(entry)
    monkeypatch.setenv("DARKROOM_CATALOGUE", str(tmp_path / "catalogue.toml"))

    done = run_darkroom("up", "--port", "0", "--data", str(tmp_path / "data"))

    assert done.returncode in {1, 2}
    assert "lost" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["valkey", "api", "delivery", "worker-1"])
def test_a_process_that_dies_is_started_again_and_jobs_run_on(service: Running, name: str) -> None:
    before = service.pids_now()[name]

    os.kill(before, signal.SIGKILL)

    assert eventually(lambda: service.pids_now().get(name) not in {None, before}, within=20)
    assert eventually(lambda: answers(service), within=30)
    done = service.run("generate", "a red circle", "--json", "--deadline", "100", cwd=service.data)
    assert done.returncode == 0, done.stderr


def test_sigterm_and_ctrl_c_leave_no_process(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with darkroom_up(tmp_path) as service:
            pids = descendants(service.process.pid)

            assert service.signal_and_wait(number) == 0

            assert len(pids) >= 4
            assert still_alive(pids, within=1) == []
            assert not (tmp_path / "session.json").exists()


def test_kill_9_of_the_supervisor_leaves_no_process_and_the_next_start_finds_everything(tmp_path: Path) -> None:
    with darkroom_up(tmp_path) as service:
        made = json.loads(service.run("generate", "a red circle", "-o", "one.png", "--json", cwd=tmp_path).stdout)
        pids = descendants(service.process.pid)

        service.signal_and_wait(signal.SIGKILL)

        assert still_alive(pids, within=5) == []

    with darkroom_up(tmp_path) as again:
        job = again.get(f"/jobs/{made['id']}")
        with urllib.request.urlopen(job["images"][0]["url"], timeout=30) as answer:
            image = answer.read()

        assert job["status"] == "succeeded"
        assert image == (tmp_path / "one.png").read_bytes()
        assert again.api_key != service.api_key
        stale = replace(again, api_key=service.api_key)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            stale.get("/jobs")


def test_a_job_that_was_waiting_at_the_end_is_run_after_the_next_start(tmp_path: Path) -> None:
    with darkroom_up(tmp_path) as service:
        request = urllib.request.Request(
            f"{service.url}/generate",
            data=json.dumps(
                {"prompt": "a red circle", "num_inference_steps": 60, "num_images": 8, "width": 256, "height": 256}
            ).encode(),
            headers={"Authorization": f"Bearer {service.api_key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            job_id = json.load(answer)["id"]
        service.signal_and_wait(signal.SIGKILL)

    with darkroom_up(tmp_path) as again:
        assert eventually(lambda: again.get(f"/jobs/{job_id}")["status"] == "succeeded", within=150)


def test_two_workers_serve_side_by_side(tmp_path: Path) -> None:
    with darkroom_up(tmp_path, "--workers", "2") as service:
        assert sorted(service.pids) == ["api", "delivery", "valkey", "worker-1", "worker-2"]
