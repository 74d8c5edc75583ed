"""Check of PyTorch against the machine: whether its build fits GPU and driver. Loads torch where it is there."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from cli.doctor.finding import Verdict, failed, fine, skipped, warning
from cli.doctor.place import Place
from darkroom.settings import WorkerSettings

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Accelerator:
    """What the machine and PyTorch say of each other."""

    torch: str  # version of the build
    cuda: str | None  # version of CUDA that the build is for
    driver: str | None  # of the kernel
    devices: tuple[str, ...]  # that torch can use
    wanted: str  # DARKROOM_DEVICE
    fault: str | None = None  # why a first computation failed


def accelerator(_place: Place) -> Verdict:
    if importlib.util.find_spec("torch") is None:
        return skipped("PyTorch is not installed here: only workers need it.")
    return judge(_look(WorkerSettings.from_env().device))


def judge(found: Accelerator) -> Verdict:
    """The verdict on those facts."""
    build = f"PyTorch {found.torch}"
    if found.fault is not None:
        return failed(
            f"{build} finds {', '.join(found.devices)}, but can't compute there ({found.fault}).",
            "Take a PyTorch build that knows this GPU: constraints/gpu.txt names the newest.",
        )
    if found.devices:
        return fine(f"{build} for CUDA {found.cuda}, driver {found.driver}: {', '.join(found.devices)}.")
    if found.cuda is None and found.driver is None:
        return _without(found, fine(f"{build} for CPUs, and no GPU is here."), "Set DARKROOM_DEVICE=cpu, or add a GPU.")
    if found.cuda is None:
        return failed(
            f"There is a GPU (driver {found.driver}), but {build} is a build for CPUs.",
            "Install the CUDA build: pip install -c constraints/gpu.txt torch.",
        )
    if found.driver is None:
        without = warning(
            f"{build} is for CUDA {found.cuda}, but this machine shows no NVIDIA driver.",
            "Install the driver, or give the container its GPU (docker run --gpus all).",
        )
        return _without(found, without, without.fix)
    return failed(
        f"{build} for CUDA {found.cuda} can't use the GPU under driver {found.driver}.",
        f"Upgrade the driver to one for CUDA {found.cuda}, or install a PyTorch build for an older CUDA.",
    )


def _without(found: Accelerator, otherwise: Verdict, fix: str) -> Verdict:
    if found.wanted.startswith("cuda"):
        return failed(f"DARKROOM_DEVICE is {found.wanted}, but PyTorch {found.torch} finds no GPU.", fix)
    return otherwise


def _look(wanted: str) -> Accelerator:
    import torch  # noqa: PLC0415 -- takes seconds, and only a worker's environment has it

    available = torch.cuda.is_available()
    devices = tuple(_described(number) for number in range(torch.cuda.device_count())) if available else ()
    return Accelerator(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=_driver(),
        devices=devices,
        wanted=wanted,
        fault=_fault() if devices else None,
    )


def _described(number: int) -> str:
    import torch  # noqa: PLC0415

    properties = torch.cuda.get_device_properties(number)
    return f"{properties.name} ({properties.total_memory / 1e9:.0f} GB)"


def _fault() -> str | None:
    """Why a small computation fails, by the error's first words."""
    import torch  # noqa: PLC0415

    try:
        made = torch.ones(8, 8, device="cuda") @ torch.ones(8, 8, device="cuda")
        return None if float(made.sum()) == 512.0 else "a wrong sum"
    except RuntimeError as error:
        return str(error).partition("\n")[0][:120]


def _driver() -> str | None:
    """The kernel driver's version, where there is one."""
    try:
        words = DRIVER.read_text(encoding="utf-8").partition("\n")[0].split()
    except OSError:
        return None
    return next((word for word in words if word[:1].isdigit() and "." in word), "unknown")
