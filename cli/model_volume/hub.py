"""A model on the hub, or on a mirror that answers like it (HF_ENDPOINT): what a commit holds, and its files' bytes.

A branch is resolved once; from then on the commit is asked for, so that a push in between changes nothing. The token
(HF_TOKEN) is for models behind a consent; it goes to the endpoint and is not passed on to where that redirects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from cli.client import ServiceRefused, ServiceUnreachable
from cli.model_volume.offer import CannotResume, Offer, OfferedFile
from darkroom.errors import ConfigurationError

ENDPOINT = "https://huggingface.co"
COMMIT = re.compile(r"[0-9a-f]{40}")
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,95}")
_REFUSALS = {
    401: "it is closed, or not there: accept its terms on its page and set HF_TOKEN",
    403: "its terms have to be accepted on its page first, and HF_TOKEN set",
    404: "there is no such model, revision or file",
}


class HubModel:
    """One model at one revision."""

    def __init__(
        self, model: str, revision: str | None, *, endpoint: str | None = None, token: str | None = None
    ) -> None:
        if not MODEL_ID.fullmatch(model):
            raise ConfigurationError("a model of the hub is named OWNER/NAME, with @REVISION behind it")
        if revision is not None and not _REVISION.fullmatch(revision):
            raise ConfigurationError("a revision is a commit of 40 digits, or the name of a branch or tag")
        self._model = model
        self._revision = revision or "main"
        self._endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        token = token or os.environ.get("HF_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx2.Timeout(30.0)
        try:
            self._http = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=True)
        except (ValueError, UnicodeError):
            raise ConfigurationError("HF_TOKEN can't be sent: it holds characters that no token has") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def offer(self) -> Offer:
        """What the revision holds; from now on this commit is meant."""
        address = f"{self._endpoint}/api/models/{self._model}/revision/{quote(self._revision, safe='')}?blobs=true"
        try:
            answer = self._http.get(address)
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise ServiceUnreachable("The hub does not answer; HF_ENDPOINT names another one or a mirror.") from None
        self._require_success(answer.status_code)
        try:
            said = answer.json()
            commit = str(said["sha"])
            files = tuple(_file(entry) for entry in said["siblings"])
        except (ValueError, KeyError, TypeError):
            raise ServiceRefused("The hub's answer can't be understood.") from None
        if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(self._revision) and commit != self._revision):
            raise ServiceRefused("The hub names another commit than the one that was asked for.")
        self._revision = commit
        return Offer(origin=self._model, revision=commit, licence=_licence(said), files=files)

    def read(self, file: OfferedFile, *, start: int) -> Iterator[bytes]:
        address = f"{self._endpoint}/{self._model}/resolve/{self._revision}/{quote(file.path)}"
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with self._http.stream("GET", address, headers=headers) as answer:
                if start and answer.status_code in {200, 416}:
                    raise CannotResume
                self._require_success(answer.status_code)
                yield from answer.iter_raw()  # as it comes: what waits for a whole chunk is lost when the line drops
        except (httpx2.HTTPError, httpx2.StreamError):
            raise ServiceUnreachable("The hub's answer broke off.") from None

    def _require_success(self, status: int) -> None:
        if status not in {200, 206}:
            reason = _REFUSALS.get(status, f"it answers {status}")
            raise ServiceRefused(f"The hub does not give {self._model}: {reason}.")


def _file(entry: dict[str, Any]) -> OfferedFile:
    """Large files carry their SHA-256, small ones the digest that git knows them by."""
    lfs = entry.get("lfs") or {}
    sha256 = lfs.get("sha256") or str(lfs.get("oid", "")).removeprefix("sha256:")
    return OfferedFile(
        path=str(entry["rfilename"]),
        size=int(lfs.get("size") or entry["size"]),
        sha256=sha256 if _DIGEST.fullmatch(sha256) else None,
        git_sha1=None if lfs else (str(entry["blobId"]) if entry.get("blobId") else None),
    )


def _licence(said: dict[str, Any]) -> str:
    """As the model's card names it; a name of the author's own where it has one."""
    card = said.get("cardData") or {}
    named = card.get("license_name") or card.get("license")
    if isinstance(named, list):
        named = ", ".join(map(str, named))
    tags = [str(tag).removeprefix("license:") for tag in said.get("tags") or () if str(tag).startswith("license:")]
    return str(named or ", ".join(tags) or "not stated")
