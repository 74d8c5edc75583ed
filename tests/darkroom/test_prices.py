"""The price table: what a device second costs, and what the file may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.costs import Price
from darkroom.errors import ConfigurationError
from darkroom.prices import Prices
from darkroom.settings import PriceSettings

TABLE = """
currency = "EUR"

[default]
per_second = 0.0006

[models."sdxl"]
per_second = 0.0012

[plans.business]
factor = 0.8

[plans.inside]
factor = 0
"""


def prices_of(folder: Path, text: str) -> Prices:
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return Prices.from_settings(PriceSettings(prices_file=path))


@pytest.mark.parametrize(
    ("model", "plan", "billionths"),
    [
        ("tiny", "default", 600_000),
        ("sdxl", "default", 1_200_000),
        ("sdxl", "business", 960_000),
        ("sdxl", "inside", 0),
    ],
)
def test_a_price_is_the_models_times_the_plans_factor(tmp_path: Path, model: str, plan: str, billionths: int) -> None:
    assert prices_of(tmp_path, TABLE).of(model, plan=plan) == Price(billionths, "EUR")


def test_without_a_file_nothing_has_a_price() -> None:
    assert Prices.from_settings(PriceSettings()).of("tiny", plan="default") is None


def test_a_price_survives_the_record() -> None:
    assert Price.parse(str(Price(600_000, "EUR"))) == Price(600_000, "EUR")
    assert Price.parse("") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TABLE.replace('"EUR"', '"euro"'), "currency"),
        (TABLE.replace("factor = 0.8", "factor = -1"), "plans.business.factor"),
        (TABLE.replace("0.0012", "5000"), "models.sdxl.per_second"),
        ('currency = "EUR"', "default"),
        (TABLE + "[discounts]\n", "discounts"),
        ("currency", "price table .* is not valid TOML"),
    ],
)
def test_a_wrong_file_stops_the_start_and_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        prices_of(tmp_path, text)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        Prices.from_file(tmp_path / "none.toml")
