"""Legal holds: while one lies on a job, no retention, no deletion and no sweep removes anything of it.

What the rule on minors refused is held from the start and listed apart: the sealed list, for one named scope.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis

from darkroom.errors import JobGone, JobHeld, JobNotFound, SealBroken
from darkroom.job_ids import is_job_id
from darkroom.lua_scripts import run_script
from darkroom.redis_client import redis_errors
from darkroom.sealing import Sealer

HOLDS = "darkroom:legal_hold"
SEALED = "darkroom:sealed"


@dataclass(frozen=True)
class Hold:
    """One hold."""

    job_id: str
    by: str
    at: float
    reason: str


class LegalHolds:
    """Places, lifts and lists holds."""

    def __init__(self, client: redis.Redis, sealer: Sealer) -> None:
        self._redis = client
        self._sealer = sealer

    def place(self, job_id: str, *, person: str, reason: str) -> None:
        """Keep the job, whatever happens; one that is held already stays so.

        Raises:
            JobNotFound, JobGone: there is none, or none any more.
        """
        outcome = run_script(self._redis, "hold", _known_shape(job_id), person, self._sealer.seal(reason))
        if outcome != "held":
            raise JobGone if outcome == "gone" else JobNotFound

    def lift(self, job_id: str, *, person: str, sealed: bool = False) -> bool:
        """End the hold; False where there was none. `sealed`: the person may lift those of the sealed list too.

        Raises:
            JobHeld: the hold is the sealed list's, and the person may not lift those.
        """
        lifted = int(run_script(self._redis, "hold_lift", _known_shape(job_id), person, int(sealed)))
        if lifted < 0:
            raise JobHeld("This hold is the sealed list's: only its named role may lift it.")
        return bool(lifted)

    def all(self) -> list[Hold]:
        """Every hold, oldest first."""
        with redis_errors():
            found: Any = self._redis.hgetall(HOLDS)
        return sorted((self._hold(job_id, text) for job_id, text in found.items()), key=lambda hold: hold.at)

    def is_held(self, job_id: str) -> bool:
        with redis_errors():
            return bool(self._redis.hexists(HOLDS, job_id))

    def sealed(self) -> list[tuple[str, float]]:
        """The sealed list: jobs that the rule on minors refused, and when, oldest first."""
        with redis_errors():
            found: Any = self._redis.zrange(SEALED, 0, -1, withscores=True)
        return [(str(job_id), float(at)) for job_id, at in found]

    def _hold(self, job_id: str, text: str) -> Hold:
        stored = json.loads(text)
        try:
            reason = self._sealer.open(stored["reason"])
        except SealBroken:
            reason = str(stored["reason"])  # the service's own holds say theirs openly
        return Hold(job_id, stored["by"], float(stored["at"]), reason)


def _known_shape(job_id: str) -> str:
    if not is_job_id(job_id):
        raise JobNotFound
    return job_id
