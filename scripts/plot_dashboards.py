"""Draws the dashboards as plain SVG from what a Prometheus holds, without Grafana.

    python -m scripts.plot_dashboards http://127.0.0.1:9090 docs/images --minutes 60

One file a dashboard: its panels in their order, each with its series and their last values.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from deploy.grafana.panels import DASHBOARDS, Dashboard, Panel

COLUMNS, WIDTH, HEIGHT, MARGIN = 3, 400, 220, 12
LEFT, TOP, BOTTOM = 46, 30, 54  # of a panel's graph, inside the panel
TITLE = 36
POINTS = 120
MOST_LEGENDS = 6
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#b83280", "#6b46c1", "#b7791f", "#2c7a7b", "#718096")
_FIELD = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Line:
    """One series: its name, and its points in time."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Span:
    """From when to when, in Unix seconds."""

    start: float
    end: float

    def share(self, at: float) -> float:
        """How much of it is over."""
        return (at - self.start) / (self.end - self.start)


def plot(dashboard: Dashboard, url: str, folder: Path, *, minutes: float) -> Path:
    """Write the dashboard's file; gives its path."""
    end = time.time()
    span = Span(end - minutes * 60, end)
    rows = math.ceil(len(dashboard.panels) / COLUMNS)
    width, height = COLUMNS * WIDTH, TITLE + rows * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#f7fafc"/>',
        f'<text x="{MARGIN}" y="24" font-size="17">{escape(dashboard.title)}</text>',
    ]
    for number, panel in enumerate(dashboard.panels):
        row, column = divmod(number, COLUMNS)
        parts.append(f'<g transform="translate({column * WIDTH},{TITLE + row * HEIGHT})">')
        parts.extend(_draw(panel, _lines(panel, url, span), span))
        parts.append("</g>")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"dashboard-{dashboard.name}.svg"
    file.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
    return file


def _lines(panel: Panel, url: str, span: Span) -> list[Line]:
    lines = []
    for legend, expression in panel.expressions.items():
        for series in _ask(url, expression, span):
            labels = series["metric"]
            name = _named(legend, labels)
            points = [(float(at), float(value)) for at, value in series["values"]]
            finite = [point for point in points if math.isfinite(point[1])]
            if finite:
                lines.append(Line(name or "none yet", finite))
    return lines


def _named(legend: str, labels: Mapping[str, str]) -> str:
    """The legend with the series' own labels in it."""

    def value(field: re.Match[str]) -> str:
        return labels.get(field[1], "")

    return _FIELD.sub(value, legend).strip()


def _ask(url: str, expression: str, span: Span) -> list[dict[str, Any]]:
    step = max((span.end - span.start) / POINTS, 0.5)
    query = urllib.parse.urlencode({"query": expression, "start": span.start, "end": span.end, "step": step})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{query}", timeout=30) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def _draw(panel: Panel, lines: Sequence[Line], span: Span) -> list[str]:
    top = max((value for line in lines for _, value in line.points), default=0.0) or 1.0
    inner, floor = WIDTH - LEFT - 2 * MARGIN, HEIGHT - BOTTOM
    parts = [
        f'<rect x="4" y="4" width="{WIDTH - 8}" height="{HEIGHT - 8}" rx="4" fill="white" stroke="#e2e8f0"/>',
        f'<text x="{MARGIN}" y="21" font-size="12" font-weight="bold">{escape(panel.title)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = floor - share * (floor - TOP)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + inner}" y2="{y:.1f}" stroke="#edf2f7"/>')
        label = escape(_shown(share * top, panel.unit))
        parts.append(f'<text x="{LEFT - 4}" y="{y + 3:.1f}" font-size="9" text-anchor="end">{label}</text>')
    for line, colour in _coloured(lines):
        points = " ".join(
            f"{LEFT + span.share(at) * inner:.1f},{floor - value / top * (floor - TOP):.1f}"
            for at, value in line.points
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return [*parts, *_legend(panel, lines, floor)]


def _legend(panel: Panel, lines: Sequence[Line], floor: float) -> list[str]:
    parts = []
    for number, (line, colour) in enumerate(_coloured(lines)[:MOST_LEGENDS]):
        row, column = divmod(number, 2)
        more = len(lines) - MOST_LEGENDS if number == MOST_LEGENDS - 1 else 0
        text = f"{line.name}: {_shown(line.points[-1][1], panel.unit)}" + (f" (+{more})" if more > 0 else "")
        x, y = MARGIN + column * (WIDTH // 2 - MARGIN), floor + 15 + row * 12
        parts.append(f'<text x="{x}" y="{y}" font-size="9" fill="{colour}">{escape(text[:44])}</text>')
    return parts


def _coloured(lines: Sequence[Line]) -> list[tuple[Line, str]]:
    return [(line, COLOURS[number % len(COLOURS)]) for number, line in enumerate(lines)]


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    return f"{value:.3g} s" if unit == "s" else f"{value:.3g}" + ("/s" if unit == "reqps" else "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the dashboards from what a Prometheus holds.")
    parser.add_argument("url", help="of the Prometheus server")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--minutes", type=float, default=180, help="how far back")
    chosen = parser.parse_args()
    for dashboard in DASHBOARDS:
        print(plot(dashboard, chosen.url, chosen.folder, minutes=chosen.minutes))


if __name__ == "__main__":
    main()
