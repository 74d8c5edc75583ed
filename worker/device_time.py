"""What the attempts under way have taken of the device so far, whichever way they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from darkroom.costs import microseconds
from darkroom.job_store import Claim
from engine import EngineHandle


class DeviceTime:
    """The handles of each attempt; each is added and read by the attempt's own thread."""

    def __init__(self) -> None:
        self._handles: dict[tuple[str, int], list[EngineHandle]] = {}

    @contextmanager
    def metered(self, claim: Claim) -> Iterator[None]:
        """Count for the length of the block."""
        self._handles[claim.job.id, claim.attempt] = []
        try:
            yield
        finally:
            del self._handles[claim.job.id, claim.attempt]

    def add(self, claim: Claim, handle: EngineHandle) -> None:
        self._handles[claim.job.id, claim.attempt].append(handle)

    def of(self, claim: Claim) -> int:
        """Microseconds; 0 for an attempt that is not metered."""
        handles = self._handles.get((claim.job.id, claim.attempt), ())
        return microseconds(sum(handle.device_seconds for handle in handles))
