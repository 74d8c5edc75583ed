"""All policies of a process, by name: those that ship with Darkroom, and those of the operator's own folder.

A file that changes is read again while the process runs, without a thread: whoever asks for a policy takes a look when
the last one is a while ago. What can't be read, says something else under the same version, or lacks an approval where
one is asked for, changes nothing: the policy that counted before goes on counting, and a log line says why. Knows no
check and no owner.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.errors import ConfigurationError, JobStoreUnavailable
from darkroom.logs import get_logger
from safety.policy import POLICIES, Policy, load_policy

LOOK_SECONDS = 2.0  # between two looks at the files
log = get_logger(__name__)
_Stamp = tuple[int, int]  # of a file: when it was written, and its size


@dataclass(frozen=True)
class PolicyFile:
    """A policy as a file says it."""

    policy: Policy
    digest: str  # sha256 of the file, hex


def read_policy_file(path: Path) -> PolicyFile:
    """Read one file, which has to bear its policy's name.

    Raises:
        ConfigurationError: with one sentence that says what is wrong and where.
    """
    policy = load_policy(path)
    if path.stem != policy.name:
        raise ConfigurationError(f"policy {path} must be named {policy.name}.toml, like the policy in it")
    return PolicyFile(policy, hashlib.sha256(path.read_bytes()).hexdigest())


class Policies:
    """The policies that count now, and those that counted before. Used from several threads."""

    def __init__(
        self,
        own: Path | None = None,
        *,
        default: str = "default",
        is_approved: Callable[[str], bool] = lambda _digest: True,
        look_seconds: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read every policy.

        Args:
            own: the operator's folder; its files may not take the names of those that ship.
            default: counts for owners without a policy of their own.
            is_approved: whether a file with this digest may count; asked of the operator's files alone.
            look_seconds: between two looks at the operator's folder.

        Raises:
            ConfigurationError: a file is not valid, or there is no policy of the default's name.
        """
        self._own = own
        self._default = default
        self._is_approved = is_approved
        self._look_seconds = look_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._shipped = {path.stem: read_policy_file(path) for path in sorted(POLICIES.glob("*.toml"))}
        self._now: dict[str, PolicyFile] = dict(self._shipped)
        self._seen: dict[str, PolicyFile] = {file.policy.label: file for file in self._now.values()}
        self._stamps: dict[Path, _Stamp] = {}
        self._waiting: set[str] = set()  # digests that lack an approval
        self._looked = clock()
        for path in self._own_files():
            self._take(path)
        self.of(None)

    def of(self, name: str | None) -> Policy:
        """The policy of that name as it counts now; without a name, the default.

        Raises:
            ConfigurationError: there is none.
        """
        self._look()
        file = self._now.get(name or self._default)
        if file is None:
            known = ", ".join(sorted(self._now))
            raise ConfigurationError(f"there is no policy named {name or self._default!r}; there are: {known}")
        return file.policy

    def at(self, label: str | None) -> Policy:
        """The policy that a record names, in that version; else as it counts now, which the log notes.

        Raises:
            ConfigurationError: there is none of that name.
        """
        if label is None:
            return self.of(None)
        self._look()
        if (file := self._seen.get(label)) is not None:
            return file.policy
        policy = self.of(label.rpartition("@")[0])
        log.warning("policy_version_unknown", wanted=label, used=policy.label)
        return policy

    def now(self) -> Mapping[str, PolicyFile]:
        """All that count now, by name."""
        self._look()
        return dict(self._now)

    def _own_files(self) -> list[Path]:
        return sorted(self._own.glob("*.toml")) if self._own else []

    def _look(self) -> None:
        """Read what changed since the last look, unless that was a moment ago."""
        with self._lock:
            if self._clock() - self._looked < self._look_seconds:
                return
            self._looked = self._clock()
            for path in self._own_files():
                try:
                    self._take(path)
                except ConfigurationError as error:
                    log.warning("policy_not_taken", reason=error.detail)

    def _take(self, path: Path) -> None:
        """Let a file count, if it is new, valid and approved.

        Raises:
            ConfigurationError: it may not count; it is not looked at again until it changes.
        """
        stamp = _stamp(path)
        if stamp is None or self._stamps.get(path) == stamp:
            return
        self._stamps[path] = stamp
        file = read_policy_file(path)
        self._require_fitting(path, file)
        name, known = file.policy.name, self._now.get(file.policy.name)
        if known is not None and known.digest == file.digest:
            return
        if not self._approves(file.digest):
            del self._stamps[path]  # the approval may come at any time
            if file.digest not in self._waiting:
                self._waiting.add(file.digest)
                log.warning("policy_waits_for_approval", policy=file.policy.label, digest=file.digest)
            return
        self._now[name] = self._seen[file.policy.label] = file
        log.info("policy_counts", policy=file.policy.label, digest=file.digest)

    def _require_fitting(self, path: Path, file: PolicyFile) -> None:
        label = file.policy.label
        if file.policy.name in self._shipped:
            raise ConfigurationError(f"policy {path}: a policy named {file.policy.name} ships with Darkroom")
        known = self._seen.get(label)
        if known is not None and known.digest != file.digest:
            raise ConfigurationError(f"policy {path}: says something else than before, so raise its version")

    def _approves(self, digest: str) -> bool:
        try:
            return self._is_approved(digest)
        except JobStoreUnavailable:
            return False  # asked again at the next look


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:  # taken away in between; what it said goes on counting
        return None
    return found.st_mtime_ns, found.st_size
