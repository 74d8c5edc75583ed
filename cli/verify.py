"""`darkroom verify`: where an image file comes from, as the service tells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.connection import Data, Key, Url, connect
from cli.data_folder import DEFAULT
from cli.generate import read_file

NOT_OURS = 1
_MANIFESTS: Mapping[str, str] = {
    "none": "none",
    "unreadable": "damaged, can't be read",
    "invalid": "INVALID: the file was changed after it was signed, or is wrongly signed",
    "valid": "whole, signed by somebody that this service does not know",
    "trusted": "whole, signed by this service",
}


def verify(
    file: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP file.")],
    *,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")] = False,
) -> None:
    """Tell where an image comes from; exit code 1 where nothing says that it was made here."""
    picture = read_file(file)
    with connect(url, api_key, data) as client:
        answer = client.verify(picture)
    print(json.dumps(answer) if as_json else "\n".join(_lines(answer)))
    raise typer.Exit(0 if answer["made_here"] else NOT_OURS)


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    manifest, mark = answer["manifest"], answer["watermark"]
    yield f"Made here:  {'yes' if answer['made_here'] else 'nothing says so (marks can be removed)'}"
    yield f"Manifest:   {_MANIFESTS[manifest['state']]}" + (f" ({manifest['issuer']})" if manifest["issuer"] else "")
    yield f"Watermark:  {_mark(mark)}"
    yield f"Recipe:     {'in the file' if answer['recipe'] else 'none'}"
    for match in answer["matches"]:
        yield f"Your image: {match['job_id']} image {match['image']} (by its {match['by']})"
    if answer["recipe"]:
        yield f"\n{answer['recipe']}"


def _mark(mark: Mapping[str, Any]) -> str:
    if not mark["found"]:
        return "none of this service"
    return f"{mark['payload'] or 'damaged'}, strength {mark['strength']:.2f}"
