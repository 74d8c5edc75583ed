"""What callers may do with jobs, and what they are refused: submit, read, list, rate, cancel and delete them.

Other owners' jobs are not found; `find` alone is for those who oversee the service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.costs import BILLIONTHS, MICRO
from darkroom.errors import (
    Allowance,
    BadCursor,
    BudgetExhausted,
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
from darkroom.job_answers import IdempotencyKey, Listed, QueueState, Quote, Submitted
from darkroom.job_commands.command import Command, command, known_shape
from darkroom.job_record import cost, decode_flat, encode_job
from darkroom.jobs import BORN, Job, JobStatus, Tier
from darkroom.owners import OwnerSettings
from darkroom.params import GenerationParams
from darkroom.sealing import Sealer
from darkroom.settings import JobSettings

DEFAULT_PAGE = 20
MAX_PAGE = 100
DEFAULT_TERMS = OwnerSettings()
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
    return command(
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
    return command("admission", *looked_at, *_caps(settings, terms), parse=parse)


def quote(params: GenerationParams, tier: Tier) -> Command[Quote]:
    def parse(answer: list[str]) -> Quote:
        device, run = (float(rate) * cost(params) if rate else None for rate in answer)
        return Quote(device_seconds=None if device is None else device / MICRO, run_seconds=run)

    return command("quote", tier, params.model, parse=parse)


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

    return command("get", known_shape(job_id), parse=parse)


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

    return command("get", known_shape(job_id), parse=parse)


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
    return command("list", owner, status or "", size, cursor or "", parse=parse)


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

    return command("cancel", known_shape(job_id), owner, parse=parse)


def rate(job_id: str, rating: int, *, owner: str, sealer: Sealer | None) -> Command[Job]:
    def parse(answer: tuple[str, list[str]]) -> Job:
        outcome, flat = answer
        if outcome != "ok":
            raise _REFUSALS[outcome]
        return decode_flat(flat, sealer)

    return command("rating", known_shape(job_id), owner, rating, parse=parse)


def queue_state(job_id: str) -> Command[QueueState | None]:
    return command("queue_state", known_shape(job_id), parse=_parse_queue_state)


def delete(job_id: str, *, owner: str, settings: JobSettings) -> Command[None]:
    def parse(outcome: str) -> None:
        if outcome != "deleted":
            raise _REFUSALS[outcome]

    return command("delete", known_shape(job_id), owner, settings.gone_seconds, parse=parse)


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
