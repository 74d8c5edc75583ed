"""What owners used and owe, by day."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from api.auth import ReadKey
from api.cost_schemas import UsageBody, UsageList
from api.dependencies import ServicesDep
from api.openapi import errors
from darkroom.errors import FieldProblem, InvalidParams, NotPermitted
from darkroom.keys import ApiKey, Scope
from darkroom.usage import LONGEST, UsageLedger

router = APIRouter(tags=["jobs"])
EVERYBODY = "*"
_DAYS = 30  # that are told where the caller names none
_First = Annotated[dt.date | None, Query(alias="from", description="First day (UTC); 30 days if left out.")]
_Last = Annotated[dt.date | None, Query(alias="to", description="Last day (UTC); today if left out.")]
_Owner = Annotated[
    str | None,
    Query(max_length=128, description="Another owner, or `*` for all; takes a key with the scope `admin`."),
]


@router.get("/usage", summary="Read what was used", responses=errors(401, 403, 422, 429, 503))
async def read_usage(
    *, key: ReadKey, services: ServicesDep, first: _First = None, last: _Last = None, owner: _Owner = None
) -> UsageList:
    """Jobs, images, device time and what is owed for it, by day. Days are kept for 400 days."""
    _require_admin_for_others(key, owner)
    ledger = UsageLedger(services.threaded_redis)
    until = last if last is not None else await run_in_threadpool(ledger.today)
    since = first or dt.date.fromordinal(max(until.toordinal() - _DAYS + 1, 1))
    if not 0 <= (until - since).days < LONGEST:
        raise InvalidParams(
            [FieldProblem("from", f"must be the same day as `to` or up to {LONGEST - 1} days before it")]
        )
    wanted = None if owner == EVERYBODY else owner or key.owner
    days = await run_in_threadpool(ledger.read, since, until, owner=wanted)
    return UsageList(days=tuple(map(UsageBody.from_usage, days)))


def _require_admin_for_others(key: ApiKey, owner: str | None) -> None:
    if owner not in {None, key.owner} and Scope.ADMIN not in key.scopes:
        raise NotPermitted(f"This API key lacks the scope `{Scope.ADMIN}`.")
