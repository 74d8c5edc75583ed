"""`darkroom plan`: how many workers a demand needs, how long jobs will wait, and what an image costs, by simulation."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.console import results, say
from darkroom.errors import ConfigurationError
from darkroom.jobs import Tier

if TYPE_CHECKING:
    from cli.capacity.pools import Pool
    from cli.capacity.profile import EngineProfile

PROFILE = "darkroom-tiny"
NARROWEST = 110  # characters: with fewer the table can't be read
QUANTILES = (0.50, 0.95, 0.99)


def plan(
    demand: Annotated[Path, typer.Argument(metavar="PLAN", help="TOML: jobs an hour by tier, mix, promise, price.")],
    *,
    profile: Annotated[str, typer.Option(help="A profile's JSON file, or the name of a shipped one.")] = PROFILE,
    by_hour: Annotated[bool, typer.Option("--by-hour", help="As many workers in each hour as that one needs.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated arrivals.")] = 1,
    jobs: Annotated[int, typer.Option(min=100, help="Simulated for each trial of a pool.")] = 10_000,
    plot: Annotated[Path | None, typer.Option(help="Write the plan as an SVG picture here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how many workers a demand needs: by simulation of the engine's own batching."""
    if importlib.util.find_spec("simpy") is None:
        raise ConfigurationError("`darkroom plan` needs an extra; in the repository: pip install '.[plan]'")
    from cli.capacity.demand import Demand  # noqa: PLC0415 - simpy is an extra
    from cli.capacity.plot import plot as picture  # noqa: PLC0415
    from cli.capacity.pools import plan as pools_for  # noqa: PLC0415

    worker = _profile(profile)
    wanted = Demand.read(demand)
    pools = pools_for(wanted, worker, by_hour=by_hour, seed=seed, jobs=jobs)
    if plot is not None:
        _write(plot, picture(pools, title=f"{demand.stem}: {worker.name}"))
    if as_json:
        answer = {"profile": worker.name, "basis": worker.basis, "tiers": {t: _facts(p) for t, p in pools.items()}}
        print(json.dumps(answer, indent=1))
        return
    print(f"{worker.name} ({worker.basis})")
    console = Console(width=max(results().width, NARROWEST))
    console.print(_table(pools))
    if by_hour:
        console.print(_hours(pools))


def _profile(name: str) -> EngineProfile:
    from cli.capacity.profile import SHIPPED, EngineProfile  # noqa: PLC0415

    return SHIPPED[name] if name in SHIPPED else EngineProfile.read(Path(name))


def _facts(pool: Pool) -> dict[str, Any]:
    return {
        "workers": max(pool.workers),
        "workers_by_hour": list(pool.workers),
        "wait_seconds": {f"p{quantile * 100:.0f}": round(pool.busiest.wait(quantile), 3) for quantile in QUANTILES},
        "latency_seconds": {
            f"p{quantile * 100:.0f}": round(pool.busiest.latency(quantile), 3) for quantile in QUANTILES
        },
        "utilisation": {
            "busy": round(pool.busiest.utilisation, 3),
            "load": round(pool.load, 3),
            "day_load": round(pool.day_load, 3),
        },
        "images_a_day": round(pool.images),
        "worker_hours_a_day": round(pool.worker_hours, 1),
        "cost_a_day": round(pool.cost, 2),
        "cost_per_image": pool.cost_per_image,
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written ({error.strerror}). Name another with --plot.") from None
    say(f"Wrote {path}")


def _hours(pools: Mapping[Tier, Pool]) -> Table:
    """The workers of each stretch of hours that needs the same."""
    table = Table("hours", *pools)
    rows = list(zip(*(pool.workers for pool in pools.values()), strict=True))
    for workers, stretch in groupby(range(len(rows)), key=rows.__getitem__):
        first, *_, last = (*stretch,) * 2
        table.add_row(f"{first:02d} to {last + 1:02d}", *map(str, workers))
    return table


def _table(pools: Mapping[Tier, Pool]) -> Table:
    table = Table()
    for column in ("tier", "workers", "wait p50, p95, p99 s", "busy", "load", "load, day", "images a day"):
        table.add_column(column, justify="left" if column == "tier" else "right")
    for column in ("cost a day", "cost of 1,000"):
        table.add_column(column, justify="right")
    for tier, pool in pools.items():
        fewest, most = min(pool.workers), max(pool.workers)
        table.add_row(
            tier,
            str(most) if fewest == most else f"{fewest} to {most}",
            ", ".join(f"{pool.busiest.wait(quantile):.2f}" for quantile in QUANTILES),
            f"{pool.busiest.utilisation:.0%}",
            f"{pool.load:.0%}",
            f"{pool.day_load:.0%}",
            f"{pool.images:,.0f}",
            f"{pool.cost:,.2f}",
            f"{1_000 * pool.cost_per_image:,.2f}",
        )
    return table
