"""`darkroom demo`: the whole way once, on a service that lives only for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.child import die_with_parent
from cli.console import say
from cli.generate import generate
from darkroom.errors import ConfigurationError

PROMPT = "a red circle on a blue background"


def demo(
    prompt: Annotated[str, typer.Argument(help="What the picture shows.")] = PROMPT,
    *,
    output: Annotated[Path, typer.Option(help="Folder for the image.")] = Path("demo-output"),
) -> None:
    """Start everything, make one image over HTTP, stop everything."""
    started = time.monotonic()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {output} can't be made: {error.strerror}. Name another with --output."
        ) from None
    image = output / f"{time.strftime('%Y%m%d-%H%M%S')}.png"
    with tempfile.TemporaryDirectory(prefix="darkroom-demo-") as folder, _service(Path(folder)) as session:
        say(f'Posting "{prompt}" to {session["url"]}/generate ...')
        code = _generate(prompt, image, session)
    if code:
        raise typer.Exit(code)
    say(f"\nThe image is {image.absolute()} ({time.monotonic() - started:.0f} s in all). Everything is stopped again.")
    say("To keep the service running: make up. It prints an API key; with that the same request is\n")
    say(_curl(prompt))


def _generate(prompt: str, image: Path, session: dict[str, Any]) -> int:
    try:
        generate(prompt, output=image, url=session["url"], api_key=session["api_key"])
    except typer.Exit as end:
        return end.exit_code
    return 0


@contextmanager
def _service(folder: Path) -> Iterator[dict[str, Any]]:
    """A `darkroom up` of our own: its JSON line, and its end afterwards."""
    say("Starting Valkey, the API and a worker ...")
    command = [sys.executable, "-m", "cli", "up", "--json", "--port", "0", "--data", str(folder)]
    with subprocess.Popen(  # noqa: S603 -- our own command
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 -- there is one thread
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise typer.Exit(process.wait() or 1)
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _curl(prompt: str) -> str:
    body = json.dumps({"prompt": prompt}).replace("'", "'\\''")
    port = os.environ.get("DARKROOM_PORT", "8000")
    return (
        f"curl http://127.0.0.1:{port}/generate -H 'Authorization: Bearer dk_...' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )
