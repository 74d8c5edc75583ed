"""The set-up script's own sentences, in a copy of the scripts, with interpreters that are not what they should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD_PYTHON = """#!/bin/sh
case "$*" in
    *join*) echo 3.9.2 ;;
    *) exit 1 ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the set-up reads, apart from the real tree."""
    for name in ("scripts", "requirements", "constraints"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", "scripts/setup.sh", *arguments]
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=120)


def tools(folder: Path, **scripts: str) -> str:
    """A PATH that has the shell's tools and the given programs, and no Python."""
    folder.mkdir()
    (folder / "dirname").symlink_to(shutil.which("dirname") or "/usr/bin/dirname")
    for name, text in scripts.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
    return str(folder)


def test_a_python_that_is_too_old_is_named_with_its_place(project: Path) -> None:
    path = tools(project / "bin", python3=OLD_PYTHON)

    done = run(project, PATH=path)

    assert done.returncode == 2
    assert f"Darkroom needs Python 3.11 or newer; found 3.9.2 at {path}/python3." in done.stderr
    assert "PYTHON=" in done.stderr


def test_a_machine_without_python_is_told_so(project: Path) -> None:
    done = run(project, PATH=tools(project / "bin"))

    assert done.returncode == 2
    assert "Darkroom needs Python 3.11 or newer; found no Python." in done.stderr


def test_the_named_python_is_the_one_that_counts(project: Path) -> None:
    path = tools(project / "bin", python3=OLD_PYTHON)

    done = run(project, PYTHON=f"{path}/python3")

    assert done.returncode == 2
    assert "found 3.9.2" in done.stderr


def test_a_full_disk_is_told_with_both_figures(project: Path) -> None:
    done = run(project, PYTHON=sys.executable, DARKROOM_SETUP_DISK_GB="1e6")

    assert done.returncode == 2
    assert "needs about 1e+06 GB of free disk, but" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".venv").exists()


def test_an_unknown_torch_build_is_refused(project: Path) -> None:
    done = run(project, PYTHON=sys.executable, DARKROOM_TORCH="tpu")

    assert done.returncode == 2
    assert "DARKROOM_TORCH must be cpu or gpu, not 'tpu'." in done.stderr


@pytest.mark.slow
def test_a_failing_install_says_what_failed_and_leaves_no_stamp(project: Path) -> None:
    (project / "requirements" / "api-test.txt").write_text("darkroom-has-no-such-package==1 --hash=sha256:00\n")

    done = run(project, "--api", PYTHON=sys.executable, PIP_NO_INDEX="1", DARKROOM_SETUP_DISK_GB="0.01")

    assert done.returncode == 2
    assert "The packages of requirements/api-test.txt could not be installed" in done.stderr
    assert not (project / ".venv-api" / ".darkroom-setup").exists()


@pytest.mark.slow
def test_a_finished_set_up_is_not_done_again(project: Path) -> None:
    (project / "requirements" / "api-test.txt").write_text("")
    first = run(project, "--api", PYTHON=sys.executable, DARKROOM_SETUP_DISK_GB="0.01")

    second = run(project, "--api", PYTHON=sys.executable, DARKROOM_SETUP_DISK_GB="1e6")

    assert "is ready" in first.stderr
    assert (second.returncode, second.stderr) == (0, "")


@pytest.mark.slow
def test_a_changed_lock_is_installed_anew(project: Path) -> None:
    lock = project / "requirements" / "api-test.txt"
    lock.write_text("")
    run(project, "--api", PYTHON=sys.executable, DARKROOM_SETUP_DISK_GB="0.01")

    lock.write_text("# one comment more\n")
    second = run(project, "--api", PYTHON=sys.executable, DARKROOM_SETUP_DISK_GB="0.01")

    assert "is ready" in second.stderr


def test_the_locks_name_no_torch_no_host_and_a_hash_for_every_package() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text()
        entries = [entry for entry in text.replace("\\\n", " ").splitlines() if entry and not entry.startswith("#")]

        assert entries, lock
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries), lock
        assert not [entry for entry in entries if entry.startswith("torch==")], lock
        assert "://" not in text, lock


def test_a_part_of_the_lock_pins_what_the_whole_pins() -> None:
    whole = pins("dev.txt")

    for part in ("api.txt", "worker.txt", "api-test.txt"):
        assert pins(part).items() <= whole.items(), part


def test_the_api_is_locked_without_the_deep_learning_stack() -> None:
    assert not pins("api.txt").keys() & {"torch", "diffusers", "transformers", "accelerate", "scipy"}


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / lock).read_text().splitlines()
    found = (line.split()[0].split("==") for line in lines if "==" in line)
    return dict(found)
