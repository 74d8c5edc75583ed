"""`docs/api.md` against the service: its commands run, its tables are whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import problems
from darkroom import errors
from darkroom.errors import InvalidRequest
from darkroom.jobs import JobStatus
from darkroom.keys import KeyStore
from darkroom.params import GenerationRequest
from tests.api.service import LiveApi, Worker

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
TEXT = DOCS.read_text(encoding="utf-8")
# Families, and names that no answer of the API carries.
INSIDE_ONLY = {"invalid_request", "unknown_model", "unknown_adapter", "adapter_mismatch"}


@pytest.fixture
def busy_worker(worker: Worker) -> Iterator[None]:
    """Something that ends jobs while the commands run."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            worker.succeed_next()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.usefixtures("busy_worker")
def test_commands_run_as_they_stand(live_api: LiveApi, keys: KeyStore, tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL)
    env = {
        "PATH": os.environ["PATH"],
        "DARKROOM_URL": live_api.url,
        "DARKROOM_API_KEY": keys.create("reader", "docs").token,
    }

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(blocks) >= 9
    assert (tmp_path / "image.png").read_bytes() == b"a picture"
    assert '"nearest":"num_inference_steps"' in done.stdout
    assert '"code":"not_found"' not in done.stdout


def test_json_examples_are_json() -> None:
    for block in re.findall(r"```json\n(.*?)```", TEXT, flags=re.DOTALL):
        json.loads(block)


def test_every_field_and_status_is_described() -> None:
    missing = [name for name in (*GenerationRequest.model_fields, *JobStatus) if f"`{name}`" not in TEXT]

    assert missing == []


def test_every_error_of_a_caller_is_in_the_table() -> None:
    ours = {
        (error.code, error.status)
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, InvalidRequest) and error.code not in INSIDE_ONLY
    }
    framework = {(code, status) for status, (code, _detail) in problems._FRAMEWORK.items()}

    missing = [(code, status) for code, status in sorted(ours | framework) if f"| `{code}` | {status} |" not in TEXT]
    assert missing == []
