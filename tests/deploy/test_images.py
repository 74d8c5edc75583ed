"""The Dockerfiles: hadolint's rules and ours, and whether what they copy is enough to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.compose_as_processes import copied

ROOT = Path(__file__).parents[2]
DOCKERFILES = (ROOT / "Dockerfile.gpu", ROOT / "deploy" / "Dockerfile.api")
IDS = [path.name for path in DOCKERFILES]
NO_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "diffusers", "transformers", "engine", "training"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=IDS)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    program = str(hadolint) if hadolint.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint has no build for this machine")

    done = subprocess.run([program, str(dockerfile)], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=IDS)
def test_image_is_pinned_runs_as_nobody_and_can_be_asked_for_its_health(dockerfile: Path) -> None:
    text = dockerfile.read_text()

    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert ":latest" not in text
    assert text.count("\nFROM ") == 2
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    assert "HEALTHCHECK" in text
    assert "--require-hashes" in text


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=IDS)
def test_everything_that_is_copied_is_there_and_reaches_the_build(dockerfile: Path) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if re.match(r"COPY (?!--from)", line)]
    sources = {source for line in lines for source in line}

    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert sources <= allowed


def test_nothing_but_the_listed_reaches_a_build() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert rules[0] == "*"
    assert {"!tests", "!.git", "!shared"}.isdisjoint(rules)


def test_the_files_of_the_small_image_run_everything_it_is_for_without_torch(tmp_path: Path) -> None:
    imports = "import api.main, worker.delivery.app, cli.main, safety.provenance.credentials"
    load = "import pathlib, darkroom.catalogue as it; it.load_catalogue(pathlib.Path('catalogue.toml'))"

    done = _run(DOCKERFILES[1], tmp_path, f"{NO_TORCH}\n{imports}\n{load}")

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_files_of_the_workers_image_are_enough(tmp_path: Path) -> None:
    done = _run(DOCKERFILES[0], tmp_path, "import worker.app, worker.__main__, cli.main")

    assert done.returncode == 0, done.stderr


def _run(dockerfile: Path, tree: Path, code: str) -> subprocess.CompletedProcess[str]:
    for source, target in copied(dockerfile):
        (tree / target).parent.mkdir(parents=True, exist_ok=True)
        (tree / target).symlink_to(ROOT / source)
    # The finder of an editable install must not help: only the tree is looked at for our packages.
    guard = f"""
import sys
sys.meta_path = [item for item in sys.meta_path if "editable" not in getattr(item, "__module__", "") + repr(item)]
sys.path = [place for place in sys.path if place not in ("", {str(ROOT)!r})]
sys.path.insert(0, {str(tree)!r})
"""
    return subprocess.run(
        [sys.executable, "-P", "-c", guard + code],
        cwd=tree,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
