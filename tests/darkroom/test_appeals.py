"""Appeals on a real Valkey: decided once, by others than who refused, and kept until then."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from darkroom.appeals import Appeals, may_be_appealed, waived_by
from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.errors import AppealNotPossible, JobNotFound, ReviewDecided, SecondPersonNeeded
from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobError, JobStatus, ReviewStep
from darkroom.judgements import Judgement, Score, Waived
from darkroom.object_store import LocalObjectStore
from darkroom.settings import JobSettings
from tests.darkroom.factories import make_job, read_job, submit_job
from tests.darkroom.passing_time import pass_retention
from tests.fixtures.secret_file import SEALER

S = JobStatus
REFUSED = JobError("prompt_hate", "Refused.")
FOUND = (
    Judgement(
        "prompt", "block", "prompt_hate", "hate", scores=(Score("hate", "list", 1.0), Score("sexual", "list", 0.1))
    ),
)


@pytest.fixture
def store(redis_client: redis.Redis) -> JobStore:
    return JobStore(redis_client, JobSettings(), SEALER)


@pytest.fixture
def appeals(redis_client: redis.Redis) -> Appeals:
    return Appeals(redis_client, SEALER)


def refused(store: JobStore, **changes: object) -> Job:
    job = make_job(**{"status": S.BLOCKED, "error": REFUSED, "findings": FOUND, **changes})
    return store.submit(job).job


def test_an_appeal_is_filed_once_and_its_text_is_sealed(
    store: JobStore, appeals: Appeals, redis_client: redis.Redis
) -> None:
    job = refused(store)

    first = appeals.file(job, "kanarienvogel")
    again = appeals.file(job, "amsel")

    assert (first.text, again.text, first.reason, first.refused_by) == (
        "kanarienvogel",
        "kanarienvogel",
        "prompt_hate",
        None,
    )
    assert [appeal.job_id for appeal in appeals.open(10, sealed=False)] == [job.id]
    stored = str(redis_client.hgetall(f"darkroom:appeal:{job.id}"))
    assert "kanarienvogel" not in stored + repr(first)


def test_a_job_is_kept_while_its_appeal_waits(store: JobStore, appeals: Appeals, redis_client: redis.Redis) -> None:
    job = refused(store)
    appeals.file(job, "please look again")
    pass_retention(redis_client, job)
    store.tidy([].append)

    assert read_job(store, job).id == job.id
    appeals.decide(job, "denied", person="ann", answer="no")
    assert redis_client.zscore("darkroom:expiring", job.id) is not None


def test_what_the_service_refused_takes_two_people_to_grant(
    store: JobStore, appeals: Appeals, redis_client: redis.Redis, tmp_path: Path
) -> None:
    job = refused(store)
    appeals.file(job, "please look again")

    for _ in range(2):
        proposed = appeals.decide(job, "granted", person="ann", answer="yes")
        assert (proposed.state, proposed.granted_by, proposed.new_job) == ("open", "ann", None)
    granted = appeals.decide(job, "granted", person="ben", answer="yes")

    assert (granted.state, granted.by, granted.answer) == ("granted", "ben", "yes")
    assert granted.new_job is not None
    assert appeals.decide(job, "granted", person="ben", answer="yes").new_job == granted.new_job
    assert appeals.unmade() == [job.id]
    appeals.made(job.id)
    assert (appeals.unmade(), appeals.depth()) == ([], 0)
    with pytest.raises(ReviewDecided):
        appeals.decide(job, "denied", person="eve", answer="no")
    objects = LocalObjectStore(tmp_path, public_url="http://127.0.0.1", secret=b"a secret of tests")
    segments = AuditSegments(AuditLog(redis_client), objects)
    segments.verify()
    assert [entry.action for entry in segments.entries()] == [
        "appeal.filed",
        "appeal.grant_proposed",
        "appeal.granted",
    ]


def test_who_refused_does_not_decide_the_appeal(store: JobStore, appeals: Appeals) -> None:
    job = refused(store, review=(ReviewStep(at=1.0, by="ann", action="decided", code="hate"),))
    appeals.file(job, "please look again")

    for decision in ("granted", "denied"):
        with pytest.raises(SecondPersonNeeded):
            appeals.decide(job, decision, person="ann", answer="")
    assert appeals.decide(job, "granted", person="ben", answer="yes").state == "granted"


def test_only_the_findings_of_the_refusal_are_waived(store: JobStore) -> None:
    assert waived_by(refused(store)) == (Waived("hate", "list"),)


def test_a_refusal_by_the_rule_on_minors_is_never_granted(store: JobStore, appeals: Appeals) -> None:
    found = (Judgement("prompt", "block", "prompt_minors", "minors", scores=(Score("minors", "list", 1.0),)),)
    job = refused(store, error=JobError("prompt_minors", "Refused."), findings=found)
    appeals.file(job, "please look again")

    assert appeals.open(10, sealed=False) == []
    assert [appeal.job_id for appeal in appeals.open(10, sealed=True)] == [job.id]
    with pytest.raises(AppealNotPossible):
        appeals.decide(job, "granted", person="ann", answer="")
    assert waived_by(job) == ()
    assert appeals.decide(job, "denied", person="ann", answer="").state == "denied"


def test_only_refusals_can_be_appealed_against(store: JobStore, appeals: Appeals) -> None:
    waiting = submit_job(store)

    with pytest.raises(AppealNotPossible):
        appeals.file(waiting, "why does it take so long")
    with pytest.raises(JobNotFound):
        appeals.get(waiting.id)
    assert may_be_appealed(make_job(status=S.EXPIRED, error=JobError("expired_unreviewed", "Late.")))
    assert not may_be_appealed(make_job(status=S.EXPIRED, error=JobError("deadline_exceeded", "Late.")))


def test_a_deleted_job_takes_its_appeal_along(store: JobStore, appeals: Appeals) -> None:
    job = refused(store)
    appeals.file(job, "please look again")
    store.delete(job.id, owner=job.owner)

    assert appeals.open(10, sealed=False) == []
    with pytest.raises(JobNotFound):
        appeals.get(job.id)
