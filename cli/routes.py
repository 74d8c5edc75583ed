"""`darkroom models routes`: what stands behind each alias, how its models do, and which canary was taken out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from cli.connection import Data
from cli.console import results, say
from cli.data_folder import DEFAULT
from cli.services import DEFAULT_CATALOGUE
from cli.stores import stores
from darkroom.catalogue import Catalogue, load_catalogue
from darkroom.errors import ConfigurationError
from darkroom.route_board import SHADOW_ARM, RouteBoard, TakenOut
from darkroom.routing import AliasSpec, ArmCounts

Restore = Annotated[
    str | None, typer.Option("--restore", metavar="ALIAS", help="Give this alias's canary jobs again, counted anew.")
]
File = Annotated[
    Path | None, typer.Option("--catalogue", help="The service's catalogue; DARKROOM_CATALOGUE if left out.")
]


def routes(
    *,
    restore: Restore = None,
    catalogue: File = None,
    data: Data = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show each alias's variants: jobs, errors, refused images, seconds and ratings; or restore a canary."""
    known = load_catalogue(catalogue or Path(os.environ.get("DARKROOM_CATALOGUE") or DEFAULT_CATALOGUE))
    with stores(data) as opened:
        board = RouteBoard(opened.redis)
        if restore is not None:
            _restore(board, known, restore)
            return
        out = board.taken_out()
        rows = [row for alias in known.aliases.values() for row in _rows(alias, board.counts(alias.route), out)]
    if as_json:
        print(json.dumps(rows))
    else:
        results().print(_table(rows))


def _restore(board: RouteBoard, catalogue: Catalogue, name: str) -> None:
    alias = catalogue.aliases.get(name)
    if alias is None or alias.canary is None:
        raise ConfigurationError(f"the catalogue has no alias {name} with a canary")
    back = board.restore(alias)
    say(f"{alias.canary.model} gets jobs of {name} again." if back else f"No canary of {name} was taken out.")


def _rows(alias: AliasSpec, counts: Mapping[str, ArmCounts], out: Mapping[str, TakenOut]) -> list[dict[str, Any]]:
    whole = sum(variant.weight for variant in alias.variants)
    gone = out.get(alias.route)
    arms: list[tuple[str, float, str]] = []
    for variant in alias.variants:
        canary = alias.canary is not None and alias.canary.model == variant.model
        state = f"taken out: {gone.trouble}" if gone and gone.model == variant.model else "canary" if canary else "live"
        arms.append((variant.model, variant.weight / whole, state))
    if alias.shadow:
        arms.append((alias.shadow.model + SHADOW_ARM, alias.shadow.share, "shadow"))
    return [
        {
            "alias": alias.name,
            "model": model,
            "share": share,
            "state": state,
            **_figures(counts.get(model, ArmCounts())),
        }
        for model, share, state in arms
    ]


def _figures(counts: ArmCounts) -> dict[str, Any]:
    rates = {name: getattr(counts, name) for name in ("error_rate", "block_rate", "mean_seconds", "mean_rating")}
    return {"ended": counts.ended, **rates, "counts": asdict(counts)}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        Column("alias", no_wrap=True), "model", "state", "share", "jobs", "errors", "refused", "mean", "rating"
    )
    for row in rows:
        table.add_row(
            row["alias"],
            row["model"],
            row["state"],
            f"{row['share']:.1%}",
            str(row["ended"]),
            _shown(row["error_rate"], ".1%"),
            _shown(row["block_rate"], ".1%"),
            _shown(row["mean_seconds"], ".2f", " s"),
            _shown(row["mean_rating"], ".2f"),
        )
    return table


def _shown(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
