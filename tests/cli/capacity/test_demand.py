from __future__ import annotations

from pathlib import Path

import pytest

from cli.capacity.demand import Demand, Kind, TierDemand
from darkroom.errors import ConfigurationError

TIER = """
[tiers.standard]
per_hour = {per_hour}
wait_seconds = {wait}
mix = [{{ share = 3, steps = 25, width = 512, height = 512 }}, {{ steps = 8, width = 512, height = 512, images = 5 }}]
"""


def written(folder: Path, *, per_hour: object = 100, wait: float = 5.0) -> Path:
    path = folder / "demand.toml"
    path.write_text("price_per_hour = 2.5\n" + TIER.format(per_hour=per_hour, wait=wait))
    return path


def test_one_number_counts_for_every_hour(tmp_path: Path) -> None:
    demand = Demand.read(written(tmp_path))

    (tier,) = demand.tiers.values()
    assert list(tier.hours) == [100.0] * 24
    assert tier.images_a_job == pytest.approx(2.0)


def test_a_day_has_twenty_four_numbers(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="per_hour"):
        Demand.read(written(tmp_path, per_hour=[1] * 23))


@pytest.mark.parametrize(("per_hour", "wait"), [(0, 5.0), ([0] * 24, 5.0), (10, 0.0)])
def test_a_demand_of_nothing_or_at_once_is_refused(tmp_path: Path, per_hour: object, wait: float) -> None:
    with pytest.raises(ConfigurationError, match=r"plan .*demand\.toml: tiers\.standard\."):
        Demand.read(written(tmp_path, per_hour=per_hour, wait=wait))


def test_a_tier_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("tiers.standard", "tiers.express"))

    with pytest.raises(ConfigurationError, match="express"):
        Demand.read(path)


def test_a_file_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        Demand.read(tmp_path / "none.toml")


def test_an_unguided_image_takes_one_row() -> None:
    kind = Kind(steps=4, width=64, height=64, guided=False)

    assert kind.rows == 1
    assert TierDemand(per_hour=1, mix=[kind], wait_seconds=1).images_a_job == 1
