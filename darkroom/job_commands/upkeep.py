"""What keeps the store in order, whoever's the jobs: count, take back, expire, archive and remove them.

Any number of processes may do the same at once; a limit bounds what one call may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.job_answers import Filed, TierCounts
from darkroom.job_commands.command import Command, command, texts
from darkroom.job_record import read_flat
from darkroom.jobs import Tier
from darkroom.settings import JobSettings

SWEEP_SECONDS = 60  # in which whoever deletes a job deletes its objects too


def counts(tier: Tier) -> Command[TierCounts]:
    return command("counts", tier, parse=_parse_counts)


def withdraw(tier: Tier, model: str, *, limit: int) -> Command[int]:
    return command("withdraw", tier, model, limit, parse=int)


def reap_leases(tier: Tier, *, limit: int, settings: JobSettings) -> Command[list[str]]:
    return command("reap_leases", tier, limit, settings.max_attempts, parse=texts)


def reap_delayed(tier: Tier, *, limit: int) -> Command[int]:
    return command("reap_delayed", tier, limit, parse=int)


def reap_deadlines(*, limit: int) -> Command[list[str]]:
    return command("reap_deadlines", limit, parse=texts)


def filed(attempts: Sequence[tuple[str, str]]) -> Command[list[Filed]]:
    def parse(answers: list[str]) -> list[Filed]:
        return [Filed(answer) for answer in answers]

    return command("strays", *(part for attempt in attempts for part in attempt), parse=parse)


def due(*, limit: int) -> Command[list[str]]:
    return command("due", limit, parse=texts)


def forget(job_id: str, *, settings: JobSettings) -> Command[int]:
    return command("forget", job_id, settings.gone_seconds, parse=int)


def swept(job_id: str) -> Command[int]:
    return command("swept", job_id, parse=int)


def unswept(*, limit: int) -> Command[list[str]]:
    return command("unswept", SWEEP_SECONDS, limit, parse=texts)


def archivable(*, limit: int, settings: JobSettings) -> Command[list[Mapping[str, str]]]:
    def parse(answer: list[list[str]]) -> list[Mapping[str, str]]:
        return [read_flat(flat) for flat in answer]

    seconds = max(settings.archive_seconds, settings.idempotency_ttl_seconds)  # a replay reads the first job's record
    return command("archivable", seconds, limit, parse=parse)


def archive(job_id: str) -> Command[int]:
    return command("archive", job_id, parse=int)


def _parse_counts(answer: list[Any]) -> TierCounts:
    ready, delayed, running, age = answer
    return TierCounts(queued=ready + delayed, running=running, oldest_seconds=float(age))
