"""`darkroom adapters`: the styles that a running service lets this key add to a prompt."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Column, Table

from cli.connection import Data, Key, Url, connect
from cli.console import results
from cli.data_folder import DEFAULT


def adapters(
    *,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")] = False,
) -> None:
    """List the adapters (LoRAs) that may be named with `generate --adapter`."""
    with connect(url, api_key, data) as client:
        answer = client.adapters()
    if as_json:
        print(json.dumps(answer))
        return
    columns = ("model", "scale", "trigger words", "licence", "description")
    table = Table(Column("adapter", no_wrap=True), *columns)
    for entry in answer["adapters"]:
        scale = f"{entry['default_scale']:g}"
        table.add_row(entry["name"], entry["model"], scale, entry["trigger"], entry["licence"], entry["description"])
    results().print(table)
