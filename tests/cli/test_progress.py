"""What is shown while a job goes on: its place, its state, each once."""

from __future__ import annotations

from typing import Any

import pytest

from cli.progress import JobProgress


def job(status: str, **more: Any) -> dict[str, Any]:
    progress = {"step": 0, "steps": 4}
    return {"status": status, "queue_position": None, "eta_seconds": None, "progress": progress, **more}


def test_place_and_state_are_said_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    with JobProgress() as progress:
        for position in (2, 2, 1):
            progress.show(job("queued", queue_position=position, eta_seconds=3.2))
        progress.show(job("in_review"))

    said = capsys.readouterr().err.splitlines()
    assert said == ["queued, place 2, about 3 s", "queued, place 1, about 3 s", "in review"]
