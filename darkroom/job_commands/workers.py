"""What a worker does with jobs: claim, keep, show, rewrite, commit, release.

Every call but the first names the claim's attempt, so that the scripts refuse one that is stale.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from darkroom.errors import ClaimHeld
from darkroom.job_answers import Claim, Committed, Lease
from darkroom.job_commands.command import Command, command, nothing
from darkroom.job_record import decode_job, encode_error, encode_images, encode_original, encode_texts, read_flat
from darkroom.jobs import SCHEMA, TRANSITIONS, ImageRecord, Job, JobError, JobStatus, Tier
from darkroom.judgements import Judgement, encode_judgements
from darkroom.sealing import Sealer
from darkroom.settings import JobSettings

NEW_RUN_WEIGHT = 0.2  # of a run that just ended, in the averages behind estimates
HOLD = "hold"  # the claim script's word for "not before you have nothing in hand"
OUTCOMES = TRANSITIONS[JobStatus.RUNNING] - {JobStatus.QUEUED}  # what a commit may ask for


def claim(
    *,
    tier: Tier,
    worker: str,
    nonce: str,
    lease_seconds: float,
    models: Collection[str] | None,
    suspects_last: bool,
    suspects: bool,
    warm: Collection[str],
    settings: JobSettings,
    sealer: Sealer | None,
) -> Command[Claim | None]:
    def parse(flat: list[str] | str) -> Claim | None:
        if flat == HOLD:
            raise ClaimHeld
        if not flat:
            return None
        record = read_flat(flat)
        job = decode_job(record, sealer)
        return Claim(job=job, attempt=job.attempt, worker=worker, alone=record.get("suspect") == "1")

    names = "*" if models is None else json.dumps(sorted(models))
    return command(
        "claim",
        tier,
        worker,
        nonce,
        lease_seconds,
        SCHEMA,
        names,
        int(suspects_last) if suspects else 2,
        settings.age_cap_seconds,
        json.dumps(sorted(warm)),
        parse=parse,
    )


def renew(claims: Sequence[Claim]) -> Command[Mapping[str, Lease]]:
    def parse(answers: list[str]) -> Mapping[str, Lease]:
        return {claim.job.id: Lease(answer) for claim, answer in zip(claims, answers, strict=True)}

    return command("renew", *(part for claim in claims for part in (claim.job.id, claim.attempt)), parse=parse)


def progress(claim: Claim, *, step: int, steps: int, device_us: int) -> Command[None]:
    return command("progress", claim.job.id, claim.attempt, step, steps, device_us, parse=nothing)


def preview(claim: Claim, message: str) -> Command[bool]:
    return command("preview", claim.job.id, claim.attempt, message, parse=bool)


def rewrite(job: Job, *, attempt: int, sealer: Sealer | None) -> Command[bool]:
    params, sealed = encode_texts(job, sealer)
    original = encode_original(job, sealer)
    return command("rewrite", job.id, attempt, params, sealed, original, job.held or "", parse=bool)


def commit(
    claim: Claim,
    *,
    status: JobStatus,
    images: Sequence[ImageRecord],
    error: JobError | None,
    findings: Sequence[Judgement],
    device_us: int,
) -> Command[Committed]:
    assert status in OUTCOMES, "a commit ends the run"
    return command(
        "commit",
        claim.job.id,
        claim.attempt,
        status,
        encode_images(images),
        encode_error(error),
        NEW_RUN_WEIGHT,
        encode_judgements([*claim.job.findings, *findings]),
        device_us,
        parse=Committed,
    )


def release(
    claim: Claim,
    *,
    not_before_seconds: float,
    transient: bool,
    broke: bool,
    error: JobError,
    device_us: int,
    settings: JobSettings,
) -> Command[None]:
    return command(
        "release",
        claim.job.id,
        claim.attempt,
        not_before_seconds,
        int(transient),
        settings.max_transient,
        encode_error(error),
        int(broke),
        settings.max_attempts,
        device_us,
        parse=nothing,
    )
