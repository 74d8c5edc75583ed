"""A worker writes other texts into the record before it makes anything of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from darkroom.errors import ClaimLost
from darkroom.job_store import Claim, JobStore
from darkroom.jobs import Job, Texts
from darkroom.settings import JobSettings
from tests.darkroom.factories import make_job, make_params, run_one
from tests.fixtures.secret_file import SEALER


@pytest.fixture
def sealed_store(redis_client: redis.Redis) -> JobStore:
    return JobStore(redis_client, JobSettings(), SEALER)


def rewritten(job: Job, prompt: str, *, held: str | None = None) -> Job:
    params = job.params.model_copy(update={"prompt": prompt})
    return replace(job, params=params, original=Texts(job.params.prompt, job.params.negative_prompt), held=held)


def claimed(store: JobStore) -> Claim:
    store.submit(make_job(params=make_params(prompt="kanarienvogel")))
    return run_one(store)


def test_record_holds_both_texts_sealed(sealed_store: JobStore, redis_client: redis.Redis) -> None:
    claim = claimed(sealed_store)

    now = sealed_store.rewrite(claim, rewritten(claim.job, "amsel", held="prompt_custom"))

    stored = sealed_store.get(claim.job.id, owner=claim.job.owner)
    assert (now.job.params.prompt, stored.params.prompt, stored.held) == ("amsel", "amsel", "prompt_custom")
    assert stored.original == Texts("kanarienvogel")
    assert stored.rewritten
    record = str(redis_client.hgetall(f"darkroom:job:{claim.job.id}"))
    assert "kanarienvogel" not in record
    assert "amsel" not in record


def test_repeated_call_writes_the_same(sealed_store: JobStore) -> None:
    claim = claimed(sealed_store)
    job = rewritten(claim.job, "amsel")

    assert sealed_store.rewrite(claim, job) == sealed_store.rewrite(claim, job)


def test_first_text_is_the_one_that_is_kept(sealed_store: JobStore) -> None:
    claim = claimed(sealed_store)
    again = sealed_store.rewrite(claim, rewritten(claim.job, "amsel", held="prompt_hate"))

    sealed_store.rewrite(again, rewritten(again.job, "drossel"))

    stored = sealed_store.get(claim.job.id, owner=claim.job.owner)
    assert (stored.params.prompt, stored.original) == ("drossel", Texts("kanarienvogel"))
    assert stored.held == "prompt_hate"  # a doubt is never taken back


def test_lost_claim_writes_nothing(sealed_store: JobStore) -> None:
    claim = claimed(sealed_store)
    stale = replace(claim, attempt=claim.attempt + 1)

    with pytest.raises(ClaimLost):
        sealed_store.rewrite(stale, rewritten(claim.job, "amsel"))

    assert not sealed_store.get(claim.job.id, owner=claim.job.owner).rewritten
