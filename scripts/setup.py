"""Make the virtual environment that the Makefile uses, from the locked requirements.

Run it as often as you like: a stamp made of the lock files' hashes tells when nothing is to be done, and a lock file
lets one set-up at a time work. It needs only the standard library, and says in a sentence what is missing.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = ".darkroom-setup"


@dataclass(frozen=True)
class Environment:
    """One virtual environment: where, from which lock, and whether the deep-learning stack belongs in it."""

    folder: Path
    lock: Path
    disk_gb: float
    torch: Path | None  # the constraints file that chooses torch's build

    def inputs(self) -> list[Path]:
        """Return the files that decide what this environment holds."""
        return [self.lock, ROOT / "pyproject.toml", *([self.torch] if self.torch else [])]

    def python(self) -> Path:
        return self.folder / "bin" / "python"


def environments() -> dict[str, Environment]:
    """Return the two environments by name; DARKROOM_TORCH=gpu chooses the accelerator build of torch."""
    build = os.environ.get("DARKROOM_TORCH", "cpu")
    if build not in {"cpu", "gpu"}:
        stop(f"DARKROOM_TORCH must be cpu or gpu, not {build!r}.")
    full = 4.0 if build == "cpu" else 12.0
    requirements = ROOT / "requirements"
    return {
        "full": Environment(ROOT / ".venv", requirements / "dev.txt", full, ROOT / "constraints" / f"{build}.txt"),
        "api": Environment(ROOT / ".venv-api", requirements / "api-test.txt", 1.0, None),
    }


def stop(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def only_one(environment: Environment) -> Iterator[None]:
    """Wait until no other set-up works on this environment."""
    path = ROOT / ".cache" / f"setup{environment.folder.name}.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Another set-up of {environment.folder.name} is running; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def fingerprint(environment: Environment) -> str:
    digest = hashlib.sha256(".".join(map(str, sys.version_info[:2])).encode())
    for path in environment.inputs():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(environment: Environment) -> bool:
    stamp = environment.folder / STAMP
    return environment.python().exists() and stamp.exists() and stamp.read_text() == fingerprint(environment)


def require_disk(environment: Environment) -> None:
    """Stop with a sentence where the disk can't hold what comes next."""
    needed = float(os.environ.get("DARKROOM_SETUP_DISK_GB", environment.disk_gb))
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < needed:
        stop(
            f"The set-up needs about {needed:g} GB of free disk, but {ROOT} has {free:.1f} GB. "
            "Free some space, or put the project on a larger disk."
        )


def make_environment(environment: Environment) -> None:
    """Create the environment's folder, anew where its Python is of another version."""
    wanted = ".".join(map(str, sys.version_info[:2]))
    usable = environment.python().exists() and version_of(environment.python()) == wanted
    if usable:
        return
    say(f"Making the virtual environment {environment.folder.name} with Python {sys.version.split()[0]} ...")
    command = [sys.executable, "-m", "venv", "--clear", str(environment.folder)]
    if subprocess.run(command, check=False).returncode:
        stop(
            f"{sys.executable} could not make a virtual environment. "
            "On Debian and Ubuntu its venv module is a package of its own: python3-venv."
        )


def version_of(python: Path) -> str:
    code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    return subprocess.run([str(python), "-c", code], check=False, capture_output=True, text=True).stdout.strip()


def pip(environment: Environment, *arguments: str) -> str | None:
    """Run pip without its chatter; returns what it said when it failed."""
    command = [str(environment.python()), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return None if done.returncode == 0 else "\n".join(done.stdout.strip().splitlines()[-12:])


def require_pip(environment: Environment, sentence: str, *arguments: str) -> None:
    if complaint := pip(environment, *arguments):
        full = "No space left on device" in complaint
        stop(f"{complaint}\n\n{'The disk is full. ' if full else ''}{sentence}")


def install_torch(environment: Environment, constraints: Path) -> None:
    """Install the build of torch that the constraints choose, from the configured index or from PyTorch's own."""
    say(f"Installing torch, the build of {constraints.relative_to(ROOT)} ...")
    install = ["install", "--no-deps", "--constraint", str(constraints), "torch"]
    if pip(environment, *install):  # no configured index has that build
        sentence = "torch could not be installed. It comes from your package index or from PyTorch's: are they reached?"
        require_pip(environment, sentence, *install, "--extra-index-url", CPU_INDEX)


def require_cpu_build(environment: Environment) -> None:
    code = "import torch; print(torch.version.cuda or '')"
    command = [str(environment.python()), "-c", code]
    cuda = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if cuda:
        stop(
            f"The torch in {environment.folder.name} is built for CUDA {cuda}, which was not wanted. "
            f"Delete {environment.folder.name} and run again, or set DARKROOM_TORCH=gpu to keep that build."
        )


def install(environment: Environment) -> None:
    """Fill the environment; torch goes first, so that nothing else brings another build of it."""
    require_disk(environment)
    make_environment(environment)
    (environment.folder / STAMP).unlink(missing_ok=True)
    if environment.torch:
        install_torch(environment, environment.torch)
    say(f"Installing the packages of {environment.lock.relative_to(ROOT)} ...")
    require_pip(
        environment,
        f"The packages of {environment.lock.relative_to(ROOT)} could not be installed; pip says why above.",
        *("install", "--no-deps", "--require-hashes", "-r", str(environment.lock)),
    )
    if environment.torch:
        require_pip(
            environment,
            "Darkroom itself could not be installed into its environment; pip says why above.",
            *("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)),
        )
        if environment.torch.name == "cpu.txt":
            require_cpu_build(environment)
    require_pip(environment, "The installed packages don't fit each other; pip names them above.", "check")
    (environment.folder / STAMP).write_text(fingerprint(environment))
    say(f"{environment.folder.name} is ready.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the virtual environment from the locked requirements.")
    parser.add_argument("--api", action="store_const", const="api", default="full", help="the one without torch")
    environment = environments()[parser.parse_args().api]
    try:
        with only_one(environment):
            if not is_current(environment):
                install(environment)
    except OSError as error:
        stop(f"The set-up stopped: {error.strerror or error} ({error.filename or ROOT}).")


if __name__ == "__main__":
    main()
