"""A plan as a picture: how the waits are spread in the busiest hour, and the workers over the day. Plain SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from cli.capacity.demand import HOURS
from cli.capacity.pools import Pool
from darkroom.jobs import Tier

WIDTH, HEIGHT = 860, 340
LEFT, TOP, PANEL, DEPTH = 60, 50, 330, 230  # of a panel's frame
GAP = 80  # between the two panels
COLOURS = ("#3366cc", "#dc3912", "#109618")
_DOCUMENT = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    ' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{content}</svg>\n'
)
Point = tuple[float, float]


def plot(pools: Mapping[Tier, Pool], *, title: str) -> str:
    """The SVG file's text."""
    waits = {str(tier): _waits(pool) for tier, pool in pools.items()}
    workers = {str(tier): _steps(pool.workers) for tier, pool in pools.items()}
    legend = "".join(
        _text(LEFT + 150 * number, HEIGHT - 12, str(tier), colour=_colour(number)) for number, tier in enumerate(pools)
    )
    content = (
        _text(LEFT, 20, title)
        + _panel(LEFT, waits, caption="Busiest hour: seconds that so many of 100 jobs wait at most", across=100)
        + _panel(LEFT + PANEL + GAP, workers, caption="Workers over the day, by hour", across=HOURS)
        + legend
    )
    return _DOCUMENT.format(width=WIDTH, height=HEIGHT, content=content)


def _waits(pool: Pool) -> list[Point]:
    return [(percent, pool.busiest.wait(percent / 100)) for percent in range(100)]


def _steps(workers: Sequence[int]) -> list[Point]:
    return [(hour + end, count) for hour, count in enumerate(workers) for end in (0, 1)]


def _panel(left: float, lines: Mapping[str, Sequence[Point]], *, caption: str, across: float) -> str:
    """One frame with its lines, the vertical axis from zero to the largest value."""
    top = max((value for points in lines.values() for _, value in points), default=0.0) or 1.0
    frame = f'<rect x="{left}" y="{TOP}" width="{PANEL}" height="{DEPTH}" fill="none" stroke="#999"/>'
    marks = "".join(
        _text(left - 6, TOP + DEPTH * (1 - part) + 4, f"{top * part:.3g}", anchor="end")
        + _text(left + PANEL * part, TOP + DEPTH + 16, f"{across * part:.0f}", anchor="middle")
        for part in (0, 0.25, 0.5, 0.75, 1)
    )
    drawn = "".join(
        _line(
            [(left + PANEL * at / across, TOP + DEPTH * (1 - value / top)) for at, value in points],
            colour=_colour(number),
        )
        for number, points in enumerate(lines.values())
    )
    return frame + marks + _text(left, TOP - 8, caption) + drawn


def _line(points: Sequence[Point], *, colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _text(x: float, y: float, words: str, *, colour: str = "#222", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
