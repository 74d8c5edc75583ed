from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.capacity.pools import LARGEST
from cli.main import app
from darkroom.errors import ConfigurationError
from tests.cli.capacity.profiles import ROUND

ROOT = Path(__file__).parents[3]
QUICK = ["--jobs", "200"]
DEMAND = """
price_per_hour = 1.0
[tiers.preview]
per_hour = 2000
wait_seconds = 1.0
mix = [{ steps = 4, width = 128, height = 128 }]
[tiers.quality]
per_hour = 5000
wait_seconds = 60
mix = [{ steps = 50, width = 128, height = 128 }]
"""


@pytest.fixture
def demand(tmp_path: Path) -> Path:
    path = tmp_path / "demand.toml"
    path.write_text(DEMAND)
    return path


def plan(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["plan", *map(str, arguments), *QUICK])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_answer_has_pools_waits_utilisation_and_cost_by_tier(demand: Path) -> None:
    tiers = json.loads(plan(demand, "--json"))["tiers"]

    assert list(tiers) == ["preview", "quality"]
    for tier in tiers.values():
        assert tier["workers"] >= 1
        assert tier["wait_seconds"]["p50"] <= tier["wait_seconds"]["p95"] <= tier["wait_seconds"]["p99"]
        assert 0 < tier["utilisation"]["day_load"] <= 1
        assert tier["cost_per_image"] > 0
    assert tiers["preview"]["wait_seconds"]["p95"] <= 1.0


def test_the_table_names_every_tier_and_where_the_profile_comes_from(demand: Path) -> None:
    shown = plan(demand)

    assert all(word in shown for word in ("preview", "quality", "bench/batching.md"))


def test_by_the_hour_the_table_has_a_range_and_the_workers_of_each_hour(tmp_path: Path) -> None:
    rates = [200] * 8 + [60_000] * 8 + [200] * 8
    text = DEMAND.replace("per_hour = 5000", f"per_hour = {rates}").replace("seconds = 60", "seconds = 5")
    (tmp_path / "day.toml").write_text(text)

    most = max(json.loads(plan(tmp_path / "day.toml", "--json"))["tiers"]["quality"]["workers_by_hour"])
    shown = plan(tmp_path / "day.toml", "--by-hour", "--plot", tmp_path / "day.svg")
    assert most > 1
    assert f"1 to {most}" in shown
    assert all(hours in shown for hours in ("00 to 08", "08 to 16", "16 to 24"))
    assert "08 to 16" not in plan(tmp_path / "day.toml")


def test_the_picture_is_named_once_it_is_written(demand: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.svg"
    result = CliRunner().invoke(app, ["plan", str(demand), "--plot", str(path), *QUICK])
    assert (f"Wrote {path}" in result.stderr, path.exists()) == (True, True)

    with pytest.raises(ConfigurationError, match="can't be written"):
        plan(demand, "--plot", tmp_path / "missing" / "plan.svg")


def test_the_picture_is_a_drawing_with_a_line_for_each_tier_in_each_panel(demand: Path, tmp_path: Path) -> None:
    plan(demand, "--plot", tmp_path / "plan.svg")

    drawing = ET.parse(tmp_path / "plan.svg").getroot()
    assert len(drawing.findall("{*}polyline")) == 4


def test_another_engine_gives_another_answer(demand: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.json").write_text(ROUND.model_copy(update={"side": 128}).model_dump_json())

    slow = json.loads(plan(demand, "--json", "--profile", tmp_path / "slow.json"))

    assert slow["profile"] == "round"
    assert slow["tiers"]["quality"]["workers"] > json.loads(plan(demand, "--json"))["tiers"]["quality"]["workers"]


def test_a_profile_that_does_not_exist_is_a_sentence(demand: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        plan(demand, "--profile", "nowhere.json")


@pytest.mark.parametrize("name", ["small", "million", "hundred-million"])
def test_the_plans_of_the_documentation_are_valid(name: str) -> None:
    answer = json.loads(plan(ROOT / "docs" / "plans" / f"{name}.toml", "--json", "--profile", _profile_of(name)))

    workers = sum(tier["workers"] for tier in answer["tiers"].values())
    assert (workers > LARGEST) == (name == "hundred-million")


def test_the_demand_on_the_page_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.toml").write_text(block)

    assert json.loads(plan(tmp_path / "page.toml", "--json"))["tiers"]["standard"]["workers"] >= 1


def _profile_of(name: str) -> str:
    return "darkroom-tiny" if name == "small" else str(ROOT / "docs" / "plans" / "assumed-gpu.json")
