"""`darkroom models`: what a running service can make images with."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from cli.connection import Data, Key, Url, connect
from cli.data_folder import DEFAULT


def models(
    *,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")] = False,
) -> None:
    """List the models of the catalogue, with their defaults."""
    with connect(url, api_key, data) as client:
        answer = client.models()
    if as_json:
        print(json.dumps(answer))
        return
    table = Table(Column("model", no_wrap=True), "size", "scheduler", "steps", "guidance", "licence", "description")
    for entry in answer["models"]:
        size = entry["native_sizes"][0]
        table.add_row(
            entry["name"] + (" (default)" if entry["default"] else ""),
            f"{size['width']}x{size['height']}",
            entry["scheduler"],
            str(entry["num_inference_steps"]),
            f"{entry['guidance_scale']:g}",
            entry["licence"],
            entry["description"],
        )
    Console().print(table)
