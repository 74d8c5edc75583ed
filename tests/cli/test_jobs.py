"""`darkroom jobs`, straight on the stores."""

from __future__ import annotations

import json
import time
from pathlib import Path

from typer.testing import CliRunner

from cli.main import app
from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus
from tests.darkroom.factories import read_job, run_one, submit_job

PROMPT = "a red circle on a blue background"


def run(*words: str, data: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["jobs", *words, "--data", str(data)])
    return result.exit_code, result.output


def test_jobs_are_listed_and_shown_without_their_prompts(store: JobStore, tmp_path: Path) -> None:
    job = submit_job(store)

    code, listed = run("list", "--json", "--status", "queued", data=tmp_path)
    assert (code, [line["id"] for line in json.loads(listed)]) == (0, [job.id])
    assert job.id in run("list", data=tmp_path)[1]
    shown = run("show", job.id, data=tmp_path)[1]
    assert ("owner: ada" in shown, PROMPT in shown + listed) == (True, False)


def test_a_list_without_a_terminal_is_not_cut(store: JobStore, tmp_path: Path) -> None:
    owner = "an-owner-with-a-name-as-long-as-names-may-be-in-practice-and-then-some"
    job = submit_job(store, owner=owner)

    (line,) = (line for line in run("list", data=tmp_path)[1].splitlines() if job.id in line)
    assert (owner in line, "0/0" in line, " - " in line) == (True, False, True)


def test_a_jobs_times_name_their_zone(store: JobStore, tmp_path: Path) -> None:
    job = submit_job(store)

    begun = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(job.created_at))
    assert f"created_at: {begun}" in run("show", job.id, data=tmp_path)[1]


def test_a_prompt_is_shown_to_a_person_with_a_reason(store: JobStore, tmp_path: Path) -> None:
    job = submit_job(store)

    assert run("show", job.id, "--prompt", data=tmp_path)[0] == 2
    said = run("show", job.id, "--prompt", "--person", "Ann", "--reason", "x", "--json", data=tmp_path)[1]
    assert json.loads(said)["prompt"] == PROMPT
    log = CliRunner().invoke(app, ["audit", "export", "--data", str(tmp_path)]).output
    assert ("job.prompt_read" in log, '"actor": "ann"' in log, PROMPT in log) == (True, True, False)


def test_a_job_is_requeued_and_cancelled(store: JobStore, tmp_path: Path) -> None:
    job = submit_job(store)
    run_one(store)

    assert "is queued" in run("requeue", job.id, "--person", "ann", data=tmp_path)[1]
    assert "is cancelled" in run("cancel", job.id, "--person", "ann", data=tmp_path)[1]
    assert read_job(store, job).status is JobStatus.CANCELLED


def test_a_running_job_is_asked_to_stop(store: JobStore, tmp_path: Path) -> None:
    job = submit_job(store)
    run_one(store)

    assert "stops within" in run("cancel", job.id, "--person", "ann", data=tmp_path)[1]
    assert read_job(store, job).cancel_requested
