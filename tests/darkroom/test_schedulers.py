"""The table of noise schedulers that the API serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from darkroom.schedulers import SCHEDULERS, SPACINGS


def test_table_holds_every_sampler_and_every_spacing_that_it_takes() -> None:
    plain = {"ddim", "ddpm", "euler_a", "pndm", "lcm", "tcd"}
    spaced = {"euler", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde", "deis", "unipc"}

    assert {info.base for info in SCHEDULERS.values()} == plain | spaced
    assert set(SCHEDULERS) == plain | spaced | {f"{name}_{spacing}" for name in spaced for spacing in SPACINGS}
    assert all(info.name == name for name, info in SCHEDULERS.items())


def test_a_spaced_name_keeps_its_samplers_limits_and_says_its_spacing() -> None:
    info = SCHEDULERS["dpmpp_2m_sde_karras"]

    assert (info.title, info.base, info.spacing) == ("DPM++ 2M SDE Karras", "dpmpp_2m_sde", "karras")
    assert info.stochastic


def test_step_limits_are_ranges_and_lcm_stops_at_fifty() -> None:
    assert all(1 <= info.min_steps <= info.max_steps for info in SCHEDULERS.values())
    assert SCHEDULERS["lcm"].max_steps == 50
    assert [name for name, info in SCHEDULERS.items() if info.few_step] == ["lcm", "tcd"]


def test_the_docs_list_every_sampler_and_whether_it_takes_spacings() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")

    for info in SCHEDULERS.values():
        if info.spacing is None:
            assert f"| `{info.name}` | {'yes' if info.spaced else 'no'} |" in text


def test_importing_the_table_loads_no_torch() -> None:
    code = "import sys, darkroom.schedulers; print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
