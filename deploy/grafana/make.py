"""Writes the dashboards' JSON from `panels.py`: `python -m deploy.grafana.make`. A test holds both equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.grafana.panels import DASHBOARDS, Dashboard, Panel

FOLDER = Path(__file__).parent / "dashboards"
DATA_SOURCE = {"type": "prometheus", "uid": "prometheus"}
SCHEMA = 39
COLUMNS, WIDTH, HEIGHT = 3, 8, 8


def dashboard_json(dashboard: Dashboard) -> str:
    """The file's text."""
    body: dict[str, Any] = {
        "uid": f"darkroom-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["darkroom"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": False,
        "timezone": "",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["darkroom"], "title": "Darkroom", "asDropdown": True}],
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": [_panel(panel, number) for number, panel in enumerate(dashboard.panels)],
    }
    return json.dumps(body, indent=2) + "\n"


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": DATA_SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 8}}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend, "datasource": DATA_SOURCE}
            for index, (legend, expression) in enumerate(panel.expressions.items())
        ],
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(dashboard_json(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
