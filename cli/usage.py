"""`darkroom usage`: what owners used and owe, by day, straight from the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.connection import Data
from cli.console import results
from cli.data_folder import DEFAULT
from cli.stores import redis_of
from darkroom.costs import BILLIONTHS, MICRO
from darkroom.usage import LONGEST, Usage, UsageLedger

_DAY = ["%Y-%m-%d"]
_COLUMNS = ("day", "owner", "jobs", "images", "attempts", "repeats", "device s", "billed s", "spent", "billed")


def usage(
    *,
    owner: Annotated[str | None, typer.Option(help="One owner alone.")] = None,
    days: Annotated[int, typer.Option(min=1, max=LONGEST, help="How many days, the last one included.")] = 7,
    until: Annotated[datetime | None, typer.Option(formats=_DAY, help="Last day (UTC); today if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    data: Data = DEFAULT,
) -> None:
    """Show what owners used and owe, by day (UTC)."""
    with redis_of(data) as client:
        ledger = UsageLedger(client)
        last = until.date() if until else ledger.today()
        found = ledger.read(last - timedelta(days=days - 1), last, owner=owner)
    if as_json:
        for entry in found:
            print(json.dumps(_as_json(entry)))
        return
    table = Table(*_COLUMNS)
    for entry in found:
        table.add_row(*_cells(entry))
    results().print(table)


def _cells(entry: Usage) -> tuple[str, ...]:
    return (
        entry.day.isoformat(),
        entry.owner,
        str(sum(entry.jobs.values())),
        str(entry.images),
        str(entry.attempts),
        str(entry.repeats),
        f"{entry.device_us / MICRO:.1f}",
        f"{entry.billed_us / MICRO:.1f}",
        _money(entry.spent),
        _money(entry.billed),
    )


def _money(amounts: Mapping[str, int]) -> str:
    return " ".join(f"{amount / BILLIONTHS:.4f} {currency}" for currency, amount in amounts.items()) or "-"


def _as_json(entry: Usage) -> dict[str, Any]:
    return {
        "day": entry.day.isoformat(),
        "owner": entry.owner,
        "jobs": dict(entry.jobs),
        "images": entry.images,
        "attempts": entry.attempts,
        "repeats": entry.repeats,
        "device_seconds": entry.device_us / MICRO,
        "billed_seconds": entry.billed_us / MICRO,
        "spent": {currency: amount / BILLIONTHS for currency, amount in entry.spent.items()},
        "billed": {currency: amount / BILLIONTHS for currency, amount in entry.billed.items()},
    }
