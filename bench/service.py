"""`darkroom up` for a measurement: a fresh folder, free ports, one model, stopped at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CATALOGUE = """\
[models.measured]
source = {{ folder = {folder} }}
licence = "see its card"
native_sizes = [[{side}, {side}]]
"""


@contextmanager
def service_up(model: Path, *, side: int, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """URL and API key of a service whose one model is a folder in diffusers' format.

    Args:
        side: of its images, in pixels.
        settings: environment variables of its processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Path(folder) / "catalogue.toml"
        catalogue.write_text(CATALOGUE.format(folder=json.dumps(str(model.absolute())), side=side), encoding="utf-8")
        environment = {**os.environ, "DARKROOM_CATALOGUE": str(catalogue), **settings}
        command = [sys.executable, "-m", "cli", "up", "--port", "0", "--data", f"{folder}/data", "--json"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                facts = json.loads(process.stdout.readline())
                yield facts["url"], facts["api_key"]
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
