"""What `darkroom doctor` says of PyTorch and the GPU."""

from __future__ import annotations

import pytest

from cli.doctor.accelerator import Accelerator, judge
from cli.doctor.finding import State

CARD = "NVIDIA H200 (150 GB)"


@pytest.mark.parametrize(
    ("cuda", "driver", "devices", "wanted", "state", "named"),
    [
        (None, None, (), "auto", State.OK, ""),
        (None, None, (), "cuda", State.FAILED, "DARKROOM_DEVICE"),
        (None, "580.65", (), "auto", State.FAILED, "constraints/gpu.txt"),
        ("13.0", None, (), "auto", State.WARNING, "--gpus all"),
        ("13.0", None, (), "cuda:0", State.FAILED, "--gpus all"),
        ("13.0", "535.1", (), "auto", State.FAILED, "driver"),
        ("13.0", "580.65", (CARD,), "auto", State.OK, ""),
    ],
)
def test_a_build_that_does_not_fit_the_machine_is_named_with_its_fix(
    cuda: str | None, driver: str | None, devices: tuple[str, ...], wanted: str, state: State, named: str
) -> None:
    verdict = judge(Accelerator("2.13.0", cuda, driver, devices, wanted))

    assert verdict.state is state
    assert named in f"{verdict.said} {verdict.fix}"


def test_a_gpu_that_cannot_compute_fails() -> None:
    verdict = judge(Accelerator("2.13.0", "13.0", "580.65", (CARD,), "auto", fault="no kernel image"))

    assert (verdict.state, "no kernel image" in verdict.said) == (State.FAILED, True)
