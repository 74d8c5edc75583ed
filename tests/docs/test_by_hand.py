"""The service out of single parts, started as docs/operations.md says, word for word but for the ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.running import ROOT
from tests.fixtures.ports import free_port

pytestmark = pytest.mark.integration
BLOCK = re.compile(r"^## By hand$.*?^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = (".venv", "catalogue.toml", "models")


def test_parts_started_by_hand_make_an_image_and_stop(tmp_path: Path) -> None:
    (commands,) = BLOCK.findall((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    for port in ("6379", "8000"):
        assert port in commands
        commands = commands.replace(port, str(free_port()))
    for name in NEEDED:
        (tmp_path / name).symlink_to(ROOT / name)

    code, printed = _run(commands, tmp_path)

    assert code == 0, printed
    assert (tmp_path / "data" / "out.png").read_bytes().startswith(b"\x89PNG")


def _run(commands: str, folder: Path) -> tuple[int, str]:
    """The exit code and what was printed; whatever is still there afterwards is ended."""
    printed, pid_file = folder / "printed", folder / "data" / "valkey" / "pid"
    with printed.open("wb") as output:  # a file, for a pipe stays open as long as any of the parts
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        code = shell.wait(timeout=240)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        if pid_file.exists():
            os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGKILL)
    return code, printed.read_text(encoding="utf-8", errors="replace")
