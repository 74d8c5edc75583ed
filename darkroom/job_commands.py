"""The job store's calls as values: which script, which arguments, how to read the answer.

`JobStore` and `AsyncJobStore` both run these, so that neither has logic of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from darkroom.costs import BILLIONTHS, MICRO
from darkroom.errors import (
    Allowance,
    BadCursor,
    BudgetExhausted,
    ClaimHeld,
    IdempotencyMismatch,
    InvalidRequest,
    JobGone,
    JobHeld,
    JobNotCancellable,
    JobNotEnded,
    JobNotFound,
    JobNotRateable,
    Overloaded,
    OwnerSuspended,
    QuotaExceeded,
)
from darkroom.job_answers import (
    Claim,
    Committed,
    Filed,
    IdempotencyKey,
    Lease,
    Listed,
    QueueState,
    Quote,
    Submitted,
    TierCounts,
)
from darkroom.job_ids import is_job_id
from darkroom.job_record import (
    cost,
    decode_flat,
    decode_job,
    encode_error,
    encode_images,
    encode_job,
    encode_original,
    encode_texts,
    read_flat,
)
from darkroom.jobs import BORN, SCHEMA, TRANSITIONS, ImageRecord, Job, JobError, JobStatus, Tier
from darkroom.judgements import Judgement, encode_judgements
from darkroom.lua_scripts import Script, load_script
from darkroom.owners import OwnerSettings
from darkroom.params import GenerationParams
from darkroom.sealing import Sealer
from darkroom.settings import JobSettings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
MAX_PAGE = 100
NEW_RUN_WEIGHT = 0.2  # of a run that just ended, in the averages behind estimates
HOLD = "hold"  # the claim script's word for "not before you have nothing in hand"
SWEEP_SECONDS = 60  # in which whoever deletes a job deletes its objects too
_REFUSALS: Mapping[str, type[InvalidRequest]] = {
    "missing": JobNotFound,
    "unrated": JobNotRateable,
    "late": JobNotRateable,
    "alive": JobNotEnded,
    "held": JobHeld,
    "gone": JobGone,
}
# Seconds that a cap is counted over, by its name.
_WINDOWS: Mapping[str, int | None] = {"overloaded": None, "queued": None, "cost": 60, "budget": 86_400, "spend": 86_400}
OUTCOMES = TRANSITIONS[JobStatus.RUNNING] - {JobStatus.QUEUED}  # what a commit may ask for


@dataclass(frozen=True)
class Command(Generic[T_co]):
    """One call of one script."""

    script: Script
    args: tuple[str, ...]
    parse: Callable[[Any], T_co]


def submit(
    job: Job,
    *,
    idempotency: IdempotencyKey | None,
    deadline_seconds: int | None,
    settings: JobSettings,
    sealer: Sealer | None,
    retention_seconds: int | None,
    terms: OwnerSettings,
) -> Command[Submitted]:
    def parse(answer: tuple[str, int, list[Any]]) -> Submitted:
        outcome, position, flat = answer
        _raise_refusal(outcome, flat)
        if outcome == "mismatch":
            raise IdempotencyMismatch
        stored = decode_flat(flat, sealer)
        return Submitted(job=stored, replayed=outcome == "replayed", queue_position=position or None)

    granted = terms.retention_seconds or settings.result_ttl_seconds
    kept = granted if retention_seconds is None else retention_seconds
    assert job.status in BORN, "a new job is queued or blocked"
    record = encode_job(job, sealer, retention_seconds=kept, terms=terms) | {"region": settings.region}
    fields = [part for pair in record.items() for part in pair]
    return _command(
        "submit",
        job.id,
        "" if deadline_seconds is None else deadline_seconds,
        _idempotency_name(job.owner, idempotency) if idempotency else "",
        idempotency.fingerprint if idempotency else "",
        settings.idempotency_ttl_seconds,
        settings.age_cap_seconds,
        *_caps(settings, terms),
        *fields,
        parse=parse,
    )


def admission(
    job: Job, *, idempotency: IdempotencyKey | None, settings: JobSettings, terms: OwnerSettings
) -> Command[None]:
    def parse(answer: list[Any]) -> None:
        if answer:
            _raise_refusal(answer[0], answer[2])

    name = _idempotency_name(job.owner, idempotency) if idempotency else ""
    price = "" if job.price is None else str(job.price)
    looked_at = (job.owner, job.tier, cost(job.params), name, job.params.model, price)
    return _command("admission", *looked_at, *_caps(settings, terms), parse=parse)


def quote(params: GenerationParams, tier: Tier) -> Command[Quote]:
    def parse(answer: list[str]) -> Quote:
        device, run = (float(rate) * cost(params) if rate else None for rate in answer)
        return Quote(device_seconds=None if device is None else device / MICRO, run_seconds=run)

    return _command("quote", tier, params.model, parse=parse)


def get(job_id: str, *, owner: str, sealer: Sealer | None) -> Command[Job | None]:
    """The job, or None for one that is archived."""

    def parse(flat: list[str]) -> Job | None:
        if len(flat) == len(("trace", "owner")):
            trace, its_owner = flat
            if its_owner != owner:
                raise JobNotFound
            if trace == "gone":
                raise JobGone
            return None
        job = decode_flat(flat, sealer) if flat else None
        if job is None or job.owner != owner:
            raise JobNotFound
        return job

    return _command("get", _known_shape(job_id), parse=parse)


def find(job_id: str, *, sealer: Sealer | None) -> Command[tuple[Job | None, str]]:
    """Anybody's job and its owner; None for the job of an archived one."""

    def parse(flat: list[str]) -> tuple[Job | None, str]:
        if len(flat) == len(("trace", "owner")):
            trace, owner = flat
            if trace == "gone":
                raise JobGone
            return None, owner
        if not flat:
            raise JobNotFound
        job = decode_flat(flat, sealer)
        return job, job.owner

    return _command("get", _known_shape(job_id), parse=parse)


def list_jobs(
    owner: str, *, status: JobStatus | None, limit: int, cursor: str | None, sealer: Sealer | None
) -> Command[Listed]:
    def read(flat: list[str]) -> Job | str:
        return flat[1] if flat[0] == "archived" else decode_flat(flat, sealer)

    def parse(answer: list[Any]) -> Listed:
        return Listed(rows=tuple(map(read, answer[1:])), next_cursor=answer[0] or None)

    if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
        raise BadCursor
    size = min(max(limit, 1), MAX_PAGE)
    return _command("list", owner, status or "", size, cursor or "", parse=parse)


def cancel(job_id: str, *, owner: str, sealer: Sealer | None) -> Command[Job]:
    def parse(answer: tuple[str, list[str]]) -> Job:
        outcome, flat = answer
        if outcome == "missing":
            raise JobNotFound
        if outcome == "gone":
            raise JobGone
        if outcome == "ended":
            raise JobNotCancellable
        return decode_flat(flat, sealer)

    return _command("cancel", _known_shape(job_id), owner, parse=parse)


def rate(job_id: str, rating: int, *, owner: str, sealer: Sealer | None) -> Command[Job]:
    def parse(answer: tuple[str, list[str]]) -> Job:
        outcome, flat = answer
        if outcome != "ok":
            raise _REFUSALS[outcome]
        return decode_flat(flat, sealer)

    return _command("rating", _known_shape(job_id), owner, rating, parse=parse)


def withdraw(tier: Tier, model: str, *, limit: int) -> Command[int]:
    return _command("withdraw", tier, model, limit, parse=int)


def queue_state(job_id: str) -> Command[QueueState | None]:
    return _command("queue_state", _known_shape(job_id), parse=_parse_queue_state)


def counts(tier: Tier) -> Command[TierCounts]:
    return _command("counts", tier, parse=_parse_counts)


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
    return _command(
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

    return _command("renew", *(part for claim in claims for part in (claim.job.id, claim.attempt)), parse=parse)


def progress(claim: Claim, *, step: int, steps: int, device_us: int) -> Command[None]:
    return _command("progress", claim.job.id, claim.attempt, step, steps, device_us, parse=_nothing)


def preview(claim: Claim, message: str) -> Command[bool]:
    return _command("preview", claim.job.id, claim.attempt, message, parse=bool)


def rewrite(job: Job, *, attempt: int, sealer: Sealer | None) -> Command[bool]:
    params, sealed = encode_texts(job, sealer)
    original = encode_original(job, sealer)
    return _command("rewrite", job.id, attempt, params, sealed, original, job.held or "", parse=bool)


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
    return _command(
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
    return _command(
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
        parse=_nothing,
    )


def reap_leases(tier: Tier, *, limit: int, settings: JobSettings) -> Command[list[str]]:
    return _command("reap_leases", tier, limit, settings.max_attempts, parse=_texts)


def reap_delayed(tier: Tier, *, limit: int) -> Command[int]:
    return _command("reap_delayed", tier, limit, parse=int)


def reap_deadlines(*, limit: int) -> Command[list[str]]:
    return _command("reap_deadlines", limit, parse=_texts)


def filed(attempts: Sequence[tuple[str, str]]) -> Command[list[Filed]]:
    def parse(answers: list[str]) -> list[Filed]:
        return [Filed(answer) for answer in answers]

    return _command("strays", *(part for attempt in attempts for part in attempt), parse=parse)


def delete(job_id: str, *, owner: str, settings: JobSettings) -> Command[None]:
    def parse(outcome: str) -> None:
        if outcome != "deleted":
            raise _REFUSALS[outcome]

    return _command("delete", _known_shape(job_id), owner, settings.gone_seconds, parse=parse)


def swept(job_id: str) -> Command[int]:
    return _command("swept", job_id, parse=int)


def unswept(*, limit: int) -> Command[list[str]]:
    return _command("unswept", SWEEP_SECONDS, limit, parse=_texts)


def due(*, limit: int) -> Command[list[str]]:
    return _command("due", limit, parse=_texts)


def forget(job_id: str, *, settings: JobSettings) -> Command[int]:
    return _command("forget", job_id, settings.gone_seconds, parse=int)


def archivable(*, limit: int, settings: JobSettings) -> Command[list[Mapping[str, str]]]:
    def parse(answer: list[list[str]]) -> list[Mapping[str, str]]:
        return [read_flat(flat) for flat in answer]

    seconds = max(settings.archive_seconds, settings.idempotency_ttl_seconds)  # a replay reads the first job's record
    return _command("archivable", seconds, limit, parse=parse)


def archive(job_id: str) -> Command[int]:
    return _command("archive", job_id, parse=int)


def _command(name: str, *args: str | float, parse: Callable[[Any], T]) -> Command[T]:
    return Command(script=load_script(name), args=tuple(str(arg) for arg in args), parse=parse)


def _caps(settings: JobSettings, terms: OwnerSettings) -> list[str | float]:
    """As caps.lua reads them."""
    money = None if terms.spend_per_day is None else round(terms.spend_per_day * BILLIONTHS)
    caps = (settings.max_queued, terms.max_queued, terms.cost_per_minute, terms.budget_per_day, money)
    return ["" if cap is None else cap for cap in caps]


def _raise_refusal(outcome: str, numbers: Sequence[int]) -> None:
    """Nothing was stored, because of whom or of how much."""
    if outcome == "suspended":
        raise OwnerSuspended
    if outcome in _WINDOWS:
        quota, left, whole, wait = numbers
        allowance = Allowance(outcome, quota, _WINDOWS[outcome], left, whole)
        if outcome == "overloaded":
            raise Overloaded(allowance, retry_seconds=wait)
        if outcome in {"budget", "spend"}:
            raise BudgetExhausted(allowance, retry_seconds=wait)
        raise QuotaExceeded(allowance, retry_seconds=wait)


def _known_shape(job_id: str) -> str:
    if not is_job_id(job_id):
        raise JobNotFound
    return job_id


def _idempotency_name(owner: str, idempotency: IdempotencyKey) -> str:
    """The key is the caller's text, so it is hashed: bounded in length, and no secret where one was put in."""
    return f"darkroom:idempotency:{owner}:{hashlib.sha256(idempotency.key.encode()).hexdigest()}"


def _parse_queue_state(answer: list[Any]) -> QueueState | None:
    if not answer:
        return None
    position, running, mean, own = answer
    eta = None
    if mean and own:  # those ahead share the places that run now; then comes the job itself
        eta = (position - 1) * float(mean) / max(running, 1) + float(own)
    return QueueState(position=position, running=running, eta_seconds=eta)


def _parse_counts(answer: list[Any]) -> TierCounts:
    ready, delayed, running, age = answer
    return TierCounts(queued=ready + delayed, running=running, oldest_seconds=float(age))


def _texts(answer: list[str]) -> list[str]:
    return answer


def _nothing(_answer: Any) -> None:
    return None
