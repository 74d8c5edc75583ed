"""Tells where a file comes from: what it says, what is hidden in its pixels, and which of our images it is.

Two programs look at it, each in a process of its own. The one that meets the stranger's file is given no secret; the
one that is given the marks' keys sees only the clean picture that the first one made. Knows no HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import anyio
import anyio.to_thread
import redis.asyncio

from api.child_program import ProgramFailed, run_program
from api.provenance_schemas import ManifestBody, MatchBody, VerifyBody, WatermarkBody
from darkroom.async_job_store import AsyncJobStore
from darkroom.errors import FieldProblem, InvalidParams, JobGone, JobNotFound
from darkroom.fingerprints import FingerprintIndex, Match
from darkroom.input_limits import WHOLE_FILE
from darkroom.sealing import derived_keys
from darkroom.settings import ProvenanceSettings, SecretSettings
from safety.provenance.credentials import trust_anchors
from safety.provenance.reading import KEY_PURPOSE

FIELD = "image"
AT_ONCE = 2  # files of one API process: each takes up to a gigabyte and seconds of a core
MOST_BITS = 6  # of the looks' 64 that may differ
MOST_MATCHES = 10
_TOO_MUCH = "can't be examined within the memory and the time that one file may take"


class Verification:
    """Looks at files; one a process."""

    def __init__(
        self, settings: ProvenanceSettings, secrets: SecretSettings, client: redis.asyncio.Redis, jobs: AsyncJobStore
    ) -> None:
        """Read keys and certificates.

        Raises:
            ConfigurationError: a file can't be used.
        """
        self._anchors = trust_anchors(settings).decode()
        self._method = settings.watermark
        self._keys = [key.hex() for key in derived_keys(secrets, KEY_PURPOSE)]
        self._index = FingerprintIndex(client, kept=settings.fingerprints)
        self._jobs = jobs
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._turn = anyio.Lock()

    async def verify(self, data: bytes, *, owner: str) -> VerifyBody:
        """What can be told about the file.

        Raises:
            InvalidParams: it is no picture that can be examined.
            JobStoreUnavailable: Redis is not answering.
        """
        told, shown = await anyio.to_thread.run_sync(self._examine, data, limiter=self._limiter)
        async with self._turn:  # the index is not to change while it is searched
            await self._index.refresh()
            marked, alike = await anyio.to_thread.run_sync(self._found, shown)
        manifest = ManifestBody(**told["manifest"])
        found = shown["strength"] is not None
        return VerifyBody(
            made_here=found or manifest.state == "trusted",
            similar_here=bool(alike),
            manifest=manifest,
            watermark=WatermarkBody(found=found, payload=_hex(shown["payload"]), strength=shown["strength"]),
            recipe=told["recipe"],
            matches=await self._own([*marked, *alike], owner),
        )

    async def has_manifest(self, data: bytes) -> str | None:
        """The file's content type where it has a manifest that can be read, else None."""
        if b"c2pa" not in data:  # every manifest store is named so
            return None
        try:
            told, _ = await anyio.to_thread.run_sync(self._read_file, data, limiter=self._limiter)
        except InvalidParams:
            return None
        readable = told["manifest"]["state"] not in {"none", "unreadable"}
        return str(told["content_type"]) if readable else None

    def _examine(self, data: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        told, png = self._read_file(data)
        asked = json.dumps({"method": self._method, "keys": self._keys}).encode()
        try:
            shown, _ = run_program("safety.provenance.pixel_facts", data=asked + b"\n" + png)
        except ProgramFailed:
            raise InvalidParams([FieldProblem(FIELD, _TOO_MUCH, WHOLE_FILE)]) from None
        return told, shown

    def _read_file(self, data: bytes) -> tuple[Mapping[str, Any], bytes]:
        asked = json.dumps({"anchors": self._anchors}).encode()
        try:
            told, png = run_program("safety.provenance.file_facts", data=asked + b"\n" + data)
        except ProgramFailed:
            raise InvalidParams([FieldProblem(FIELD, _TOO_MUCH, WHOLE_FILE)]) from None
        if "message" in told:
            raise InvalidParams([FieldProblem(FIELD, told["message"], told["limit"])])
        return told, png

    def _found(self, shown: Mapping[str, Any]) -> tuple[list[Match], list[Match]]:
        payload, looks = shown["payload"], shown["looks"]
        marked = [] if payload is None else list(self._index.by_payload(payload, looks))
        alike = [] if looks is None else list(self._index.by_looks(looks, most=MOST_BITS))
        return marked, sorted(alike, key=lambda match: match.distance or 0)

    async def _own(self, matches: Iterable[Match], owner: str) -> tuple[MatchBody, ...]:
        """The owner's images among them that are still there; each once, those with the mark first."""
        own: dict[tuple[str, int], MatchBody] = {}
        for match in matches:
            place = (match.job_id, match.index)
            if match.owner != owner or place in own or len(own) == MOST_MATCHES:
                continue
            try:
                job = await self._jobs.get(match.job_id, owner=owner)
            except (JobNotFound, JobGone):
                continue
            if any(image.index == match.index for image in job.images):
                own[place] = MatchBody(job_id=job.id, image=match.index, by=match.by, distance=match.distance)
        return tuple(own.values())


def _hex(payload: int | None) -> str | None:
    return None if payload is None else f"{payload:06x}"
