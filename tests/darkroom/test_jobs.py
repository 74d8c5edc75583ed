"""The state machine as plain data."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from darkroom.jobs import BORN, TRANSITIONS, JobStatus
from tests.darkroom.factories import make_job

S = JobStatus


def test_table_speaks_of_every_status() -> None:
    assert set(TRANSITIONS) == set(JobStatus)


def test_five_statuses_are_terminal() -> None:
    assert {status for status in S if status.is_terminal} == {S.SUCCEEDED, S.FAILED, S.BLOCKED, S.CANCELLED, S.EXPIRED}


def test_every_status_is_reached_from_a_birth() -> None:
    reached, frontier = set(BORN), set(BORN)
    while frontier:
        frontier = {end for start in frontier for end in TRANSITIONS[start]} - reached
        reached |= frontier

    assert reached == set(JobStatus)


def test_nothing_stays_and_only_running_goes_back_to_the_queue() -> None:
    assert [status for status in S if status in TRANSITIONS[status]] == []
    assert [status for status in S if S.QUEUED in TRANSITIONS[status]] == [S.RUNNING]


def test_job_is_frozen_and_its_repr_holds_no_prompt() -> None:
    job = make_job()

    assert job.params.prompt not in repr(job)
    with pytest.raises(FrozenInstanceError):
        job.status = S.RUNNING
