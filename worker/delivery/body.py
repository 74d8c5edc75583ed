"""The body of a delivery: what happened to which job, and where to read the rest. The same bytes at every attempt.

Never a prompt and never a link that needs no key: a body passes through other people's logs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from darkroom.outbox import Delivery


def make_body(delivery: Delivery, *, public_url: str) -> bytes:
    """The bytes that are signed and sent."""
    happened = datetime.fromtimestamp(delivery.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"type": delivery.type, "timestamp": happened, "data": _data(delivery, public_url)}
    return json.dumps(body, separators=(",", ":")).encode()


def _data(delivery: Delivery, public_url: str) -> dict[str, Any]:
    if not delivery.job:  # a test, which an owner asked for
        return {"endpoint_id": delivery.target}
    return {"job_id": delivery.job, "status": delivery.status, "url": f"{public_url}/jobs/{delivery.job}"}
