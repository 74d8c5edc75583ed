"""Every command of the documentation is run as it stands, against a real service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import ROOT, Running, darkroom_up
from tests.docs.snippets import Snippet, find_snippets

pytestmark = pytest.mark.integration
COMMANDS = {"bash": ("bash", "-euo", "pipefail", "-c"), "python": (sys.executable, "-c")}
PROBLEM = "urn:darkroom:problem:"  # curl exits with 0 on an error answer, so look at what it says; some pages show one


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with darkroom_up(tmp_path_factory.mktemp("docs-service")) as running:
        yield running


def test_the_readme_shows_a_request_by_curl_and_by_python() -> None:
    languages = {snippet.language for snippet in find_snippets() if snippet.page == "README.md"}

    assert languages == {"bash", "python"}


@pytest.mark.parametrize("snippet", find_snippets(), ids=str)
def test_the_commands_of_the_page_work(snippet: Snippet, service: Running, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "DARKROOM_URL": service.url,
        "DARKROOM_API_KEY": service.api_key,
    }

    done = subprocess.run(
        [*COMMANDS[snippet.language], snippet.code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    if PROBLEM not in snippet.page_text():
        assert PROBLEM not in done.stdout, done.stdout
