"""The table of noise schedulers that the API serves."""

from __future__ import annotations

import subprocess
import sys

from darkroom.schedulers import SCHEDULERS


def test_table_holds_the_nine_public_names() -> None:
    assert set(SCHEDULERS) == {
        "ddim", "ddpm", "euler", "euler_a", "pndm", "dpmpp_2m", "dpmpp_2m_karras", "unipc", "lcm",
    }  # fmt: skip
    assert all(info.name == name for name, info in SCHEDULERS.items())


def test_step_limits_are_ranges_and_lcm_stops_at_fifty() -> None:
    assert all(1 <= info.min_steps <= info.max_steps for info in SCHEDULERS.values())
    assert SCHEDULERS["lcm"].max_steps == 50
    assert [name for name, info in SCHEDULERS.items() if info.few_step] == ["lcm"]


def test_importing_the_table_loads_no_torch() -> None:
    code = "import sys, darkroom.schedulers; print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
