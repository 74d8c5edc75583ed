"""A program for the supervisor's tests: supervises a few small commands and tells their process ids.

Arguments: a folder, then `NAME:STAGE:PYTHON CODE` for each service. Prints a JSON line at each change.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from cli.child import Service, ServiceFailed
from cli.console import say
from cli.supervisor import Supervisor


def tell(pids: Mapping[str, int]) -> None:
    sys.stdout.write(f"{json.dumps(pids)}\n")
    sys.stdout.flush()


def main() -> None:
    folder = Path(sys.argv[1])
    services = []
    for argument in sys.argv[2:]:
        name, stage, code = argument.split(":", 2)
        services.append(
            Service(
                name=name,
                command=(sys.executable, "-c", code),
                environment=os.environ,
                log=folder / f"{name}.log",
                is_ready=(folder / f"{name}.ready").exists,
                stage=int(stage),
                start_seconds=20,
                stop_seconds=2,
            )
        )
    supervisor = Supervisor(
        say=say,
        on_pids=tell,
    )
    try:
        with supervisor.signals():
            supervisor.start(services)
            supervisor.watch()
    except ServiceFailed as error:
        sys.exit(error.detail)


main()
