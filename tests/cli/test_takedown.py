"""`darkroom takedown` and `darkroom hold`, straight on the stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from darkroom.errors import JobNotFound
from darkroom.job_ids import new_job_id
from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobStatus
from darkroom.object_store import LocalObjectStore
from tests.darkroom.factories import make_image, read_job, run_one, submit_job


@pytest.fixture
def job(store: JobStore, tmp_path: Path) -> Job:
    objects = LocalObjectStore(tmp_path / "objects", public_url="http://127.0.0.1", secret=b"a secret of tests")
    made = submit_job(store)
    key = f"outputs/{made.id}/1/0.png"
    objects.put(key, b"pixels", "image/png")
    store.commit(run_one(store), status=JobStatus.SUCCEEDED, images=[make_image(key=key)])
    return made


def run(*words: str, data: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--data", str(data)])
    return result.exit_code, result.output


def test_images_are_taken_down_by_command(store: JobStore, job: Job, tmp_path: Path) -> None:
    code, said = run("takedown", job.id, "--reason", "a complaint", "--person", "Ann", data=tmp_path)

    assert (code, f"Withheld of {job.id}: 0." in said) == (0, True)
    assert read_job(store, job).withheld == (0,)
    assert not (tmp_path / "objects" / "outputs" / job.id / "1" / "0.png").exists()
    assert '"actor": "ann"' in run("audit", "export", data=tmp_path)[1]


def test_a_hold_is_placed_listed_and_lifted_by_command(job: Job, tmp_path: Path) -> None:
    assert run("hold", "place", job.id, "--reason", "a case", "--person", "ann", data=tmp_path)[0] == 0

    assert job.id in run("hold", "list", data=tmp_path)[1]
    assert run("hold", "lift", job.id, "--person", "ann", data=tmp_path)[0] == 0
    assert run("hold", "lift", job.id, "--person", "ann", data=tmp_path)[0] == 1


def test_an_unknown_job_is_an_error(store: JobStore, tmp_path: Path) -> None:
    words = ["hold", "place", new_job_id(), "--reason", "x", "--person", "ann", "--data", str(tmp_path)]

    assert isinstance(CliRunner().invoke(app, words).exception, JobNotFound)
    assert store.counts()
