"""`python -m worker.delivery`: delivers webhooks until SIGTERM. Any number of these processes may run."""

from __future__ import annotations

import asyncio
import sys

from darkroom.errors import DarkroomError
from darkroom.logs import configure_logging
from darkroom.settings import OtelSettings
from darkroom.tracing import configure_tracing
from worker.delivery.app import Settings, deliver


def main() -> int:
    """Run; the exit code is 2 for a bad start."""
    try:
        settings = Settings.from_env()
        configure_logging(settings.log.log_level, service="delivery", region=settings.region)
        configure_tracing(OtelSettings.from_env(), service="delivery")
        asyncio.run(deliver(settings))
    except DarkroomError as error:
        print(f"darkroom delivery: {error.detail}", file=sys.stderr)  # noqa: T201 -- for who starts it by hand
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
