"""The limits on how often the API may be called: by key, and by address where there is no valid key."""

from __future__ import annotations

from dataclasses import dataclass

from api.services import Services
from darkroom.rate_limits import RateLimit
from darkroom.settings import ApiSettings


@dataclass(frozen=True)
class Limits:
    """None stands for no limit."""

    requests: RateLimit | None
    refusals: RateLimit | None


def make_limits(settings: ApiSettings, services: Services) -> Limits:
    return Limits(
        requests=_limit(services, "key", settings.requests_per_minute),
        refusals=_limit(services, "address", settings.refusals_per_minute),
    )


def _limit(services: Services, policy: str, per_minute: int) -> RateLimit | None:
    return RateLimit(services.looped_redis, policy=policy, per_minute=per_minute) if per_minute else None
