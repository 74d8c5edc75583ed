"""The types of events that webhooks may ask for: changes of a job's status, progress, a reviewer's decision."""

from __future__ import annotations

from typing import Literal

WebhookEvent = Literal[
    "job.started",
    "job.progress",
    "job.in_review",
    "job.review_decided",
    "job.succeeded",
    "job.failed",
    "job.blocked",
    "job.cancelled",
    "job.expired",
]
