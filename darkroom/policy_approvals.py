"""Approvals of policy files: one person proposes a file's digest, another approves it. Each step is in the audit log.

What a digest says is not kept here: whoever approves reads the file. Knows no policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import redis

from darkroom.audit import AuditLog
from darkroom.clock import unix_time
from darkroom.errors import ConfigurationError
from darkroom.redis_client import redis_errors
from darkroom.settings import SafetySettings

_APPROVALS = "darkroom:policy_approvals"  # hash: JSON by digest


@dataclass(frozen=True)
class Approval:
    """How far a file is."""

    label: str  # name@version of the policy in it
    proposed_by: str
    proposed_at: float
    approved_by: str | None = None
    approved_at: float | None = None


class PolicyApprovals:
    """The digests that were proposed, and those that count."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._audit = AuditLog(client)

    def propose(self, digest: str, label: str, *, person: str) -> Approval:
        """Put a file up for approval; a proposal that stands already stays as it is."""
        approval = Approval(label, person, unix_time())
        with redis_errors():
            if self._redis.hsetnx(_APPROVALS, digest, json.dumps(asdict(approval))):
                self._audit.append(person, "policy.proposed", digest, {"policy": label})
        return self.all()[digest]

    def approve(self, digest: str, *, person: str) -> Approval:
        """Let a proposed file count.

        Raises:
            ConfigurationError: nobody has proposed it, or this person has.
        """
        approval = self.all().get(digest)
        if approval is None:
            raise ConfigurationError(f"nobody has proposed the policy file {digest[:12]}")
        if approval.proposed_by == person:
            raise ConfigurationError(f"{person} has proposed {approval.label}, so somebody else has to approve it")
        if approval.approved_by is not None:
            return approval
        approved = replace(approval, approved_by=person, approved_at=unix_time())
        # First the log: a file that counts is in it, whatever happens in between.
        self._audit.append(person, "policy.approved", digest, {"policy": approval.label})
        with redis_errors():
            self._redis.hset(_APPROVALS, digest, json.dumps(asdict(approved)))
        return approved

    def is_approved(self, digest: str) -> bool:
        """Whether a file of this digest may count."""
        approval = self.all().get(digest)
        return approval is not None and approval.approved_by is not None

    def all(self) -> Mapping[str, Approval]:
        """Every proposal, by digest."""
        with redis_errors():
            stored = self._redis.hgetall(_APPROVALS)
        return {str(digest): Approval(**json.loads(text)) for digest, text in stored.items()}


def approval_of(client: redis.Redis, settings: SafetySettings) -> Callable[[str], bool]:
    """Says of a digest whether it may count; every one does where the settings ask for no approval."""
    return PolicyApprovals(client).is_approved if settings.policy_approval else lambda _digest: True
