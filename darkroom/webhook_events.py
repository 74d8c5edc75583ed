"""The types of events that webhooks may ask for: each change of a job's status, and how far it is."""

from __future__ import annotations

from typing import Literal

WebhookEvent = Literal[
    "job.started",
    "job.progress",
    "job.in_review",
    "job.succeeded",
    "job.failed",
    "job.blocked",
    "job.cancelled",
    "job.expired",
]
