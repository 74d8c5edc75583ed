"""Bodies that tell what jobs take and what is asked for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from darkroom.costs import BILLIONTHS, MICRO
from darkroom.job_answers import Quote
from darkroom.jobs import Job
from darkroom.params import GenerationParams
from darkroom.usage import Usage

_CURRENCY = "ISO 4217 code; null where the operator asks for nothing."


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CostBody(_Body):
    """What a job has taken of a device, and what is asked for it."""

    device_seconds: float = Field(
        description="Of all attempts that have ended; by share of rows where jobs share work."
    )
    billed_seconds: float = Field(
        description="Of the attempt that made the images, once they are released; nothing else is billed."
    )
    amount: float | None = Field(description="What is asked for `billed_seconds`; null without a price.")
    currency: str | None = Field(description=_CURRENCY, examples=["EUR"])

    @classmethod
    def from_job(cls, job: Job) -> Self:
        price = job.price
        return cls(
            device_seconds=job.cost.device_us / MICRO,
            billed_seconds=job.cost.billed_us / MICRO,
            amount=None if price is None else job.cost.billed / BILLIONTHS,
            currency=None if price is None else price.currency,
        )


class QuoteBody(_Body):
    """What a job would take. Nothing was stored, and no check has read the prompt."""

    device_seconds: float | None = Field(
        description="By what jobs of this model took lately; null before there were any."
    )
    run_seconds: float | None = Field(description="From its start to its images, likewise.")
    amount: float | None = Field(description="What would be asked for it; null where time or price are unknown.")
    currency: str | None = Field(description=_CURRENCY, examples=["EUR"])
    warnings: tuple[str, ...] = Field(description="Legal but unwise values.")
    params: GenerationParams = Field(description="The complete recipe, with every default filled in.")

    @classmethod
    def from_quote(cls, quote: Quote, job: Job) -> Self:
        price, seconds = job.price, quote.device_seconds
        return cls(
            device_seconds=seconds,
            run_seconds=quote.run_seconds,
            amount=None if price is None or seconds is None else round(price.of(seconds), 9),
            currency=None if price is None else price.currency,
            warnings=job.warnings,
            params=job.params,
        )


class UsageBody(_Body):
    """An owner's day (UTC). Jobs count on the day of their end."""

    owner: str
    day: dt.date
    jobs: Mapping[str, int] = Field(description="That ended, by status.", examples=[{"succeeded": 12, "failed": 1}])
    images: int = Field(description="Released.")
    attempts: int = Field(description="That ended.")
    repeats: int = Field(description="Attempts but for each job's first: after a fault, or a lost worker.")
    device_seconds: float = Field(description="Of all attempts.")
    billed_seconds: float = Field(description="Of those that made released images.")
    spent: Mapping[str, float] = Field(
        description="The price of `device_seconds`, by currency; what is not in `billed` is not owed."
    )
    billed: Mapping[str, float] = Field(description="What is owed, by currency.", examples=[{"EUR": 0.42}])

    @classmethod
    def from_usage(cls, usage: Usage) -> Self:
        return cls(
            owner=usage.owner,
            day=usage.day,
            jobs=usage.jobs,
            images=usage.images,
            attempts=usage.attempts,
            repeats=usage.repeats,
            device_seconds=usage.device_us / MICRO,
            billed_seconds=usage.billed_us / MICRO,
            spent=_amounts(usage.spent),
            billed=_amounts(usage.billed),
        )


class UsageList(_Body):
    """Days on which something was used, oldest first."""

    days: tuple[UsageBody, ...]


def _amounts(billionths: Mapping[str, int]) -> Mapping[str, float]:
    return {currency: amount / BILLIONTHS for currency, amount in billionths.items()}
