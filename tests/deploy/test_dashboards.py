"""The dashboards' files are those that the table makes, and ask only for what the code measures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from darkroom.metrics import Metrics, describe
from deploy.grafana.make import FOLDER, dashboard_json
from deploy.grafana.panels import DASHBOARDS, Dashboard

ROOT = Path(__file__).parents[2]
_METRIC = re.compile(r"\b(darkroom_[a-z_]+)")
_LABELS = re.compile(r"\bby \(([^)]*)\)")
_MATCHED = re.compile(r"[{,]\s*([a-z_]+)(?==)")
SCRAPED = {"le", "instance", "job"}  # labels that Prometheus or a histogram adds


def every_expression() -> list[tuple[str, str]]:
    return [
        (f"{dashboard.name}: {panel.title}", expression)
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for expression in panel.expressions.values()
    ]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_the_file_is_the_one_that_the_table_makes(dashboard: Dashboard) -> None:
    file = FOLDER / f"{dashboard.name}.json"

    assert file.read_text(encoding="utf-8") == dashboard_json(dashboard), "run `python -m deploy.grafana.make`"


def test_there_are_four_and_no_other_file() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == ["engine", "overview", "owners", "safety"]


def test_every_expression_asks_for_metrics_and_labels_that_the_code_has() -> None:
    labels = {info.name: set(info.labels) for info in describe(Metrics())}
    for info in describe(Metrics()):
        if info.kind == "histogram":
            labels |= {f"{info.name}{part}": set(info.labels) for part in ("_bucket", "_sum", "_count")}
    unknown = []
    for where, expression in every_expression():
        named = _METRIC.findall(expression)
        asked = {label.strip() for group in _LABELS.findall(expression) for label in group.split(",")}
        asked |= set(_MATCHED.findall(expression))
        unknown += [(where, name, asked) for name in named if name not in labels or asked - labels[name] - SCRAPED]
        assert named, where
    assert unknown == []


def test_figures_of_the_whole_service_are_not_summed_over_processes() -> None:
    told = {info.name for info in describe(Metrics()) if _is_elected(info.name)}

    for where, expression in every_expression():
        if set(_METRIC.findall(expression)) & told:
            assert expression.startswith("max"), where


def test_every_panel_has_a_place_of_its_own_and_the_provisioned_source() -> None:
    for dashboard in DASHBOARDS:
        panels = json.loads(dashboard_json(dashboard))["panels"]
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
        assert len(places) == len(panels)
        assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus"}
    source = (ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    assert "uid: prometheus\n" in source


def _is_elected(name: str) -> bool:
    return any(family.name == name for family in Metrics().elected.registry.collect())
