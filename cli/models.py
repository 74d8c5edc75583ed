"""`darkroom models`: what a running service can make images with, and the folder that pulled models lie in."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from cli.connection import Data, Key, Url, connect
from cli.console import results, say
from cli.data_folder import DEFAULT
from cli.model_volume.entry import catalogue_entry
from cli.model_volume.hub import HubModel
from cli.model_volume.offer import Offer, Source, needed
from cli.model_volume.on_disk import ARCHIVES, ArchiveModel, FolderModel
from cli.model_volume.progress import shown_progress
from cli.model_volume.volume import ModelVolume
from cli.routes import routes
from darkroom.errors import ConfigurationError

app = typer.Typer(invoke_without_command=True, help="List what a service offers; pull, list and verify model files.")
Folder = Annotated[
    Path, typer.Option(envvar="DARKROOM_MODEL_FOLDER", help="Folder that models lie in, one folder each.")
]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
MODELS = Path("models")
app.command()(routes)


@app.callback()
def models(
    context: typer.Context,
    *,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")] = False,
) -> None:
    """List the models of a running service's catalogue, with their defaults; or see to the files of models."""
    if context.invoked_subcommand is not None:
        return
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
    results().print(table)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="OWNER/NAME@COMMIT of the hub, a folder, or a tar archive.")],
    *,
    name: Annotated[str | None, typer.Option(help="Its name here. Default: the source's last part.")] = None,
    variant: Annotated[str | None, typer.Option(help="Weights to take where there are some, like `fp16`.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    folder: Folder = MODELS,
) -> None:
    """Bring a model here: its size and licence are shown first, every file is checked; a second try goes on."""
    volume = ModelVolume(folder)
    with _source(model) as source:
        offer = needed(source.offer(), variant=variant)
        chosen = name or _default_name(offer.origin)
        volume.require_room(chosen, offer)
        _describe(chosen, offer, missing=volume.missing_bytes(chosen, offer))
        if not yes:
            typer.confirm("Fetch it, under this licence?", abort=True, err=True)
        with shown_progress(offer.size) as progress:
            placed = volume.fetch(chosen, offer, source, progress=progress)
    say(f"{chosen} lies in {placed}. To use it, put this into the catalogue and restart the workers and the API:")
    print(catalogue_entry(chosen, placed, offer.licence))


@app.command("list")
def list_files(*, as_json: Json = False, folder: Folder = MODELS) -> None:
    """List the models that lie in the folder, and those that are not there whole."""
    found = ModelVolume(folder).models()
    if as_json:
        print(json.dumps([asdict(model) | {"folder": str(model.folder)} for model in found]))
        return
    table = Table(Column("model", no_wrap=True), "size", "state", "licence", "from")
    for model in found:
        origin = "@".join(filter(None, (model.origin, model.revision[:12])))
        state = "complete" if model.complete else "broken off: pull it again"
        table.add_row(model.name, f"{model.size / 1e9:.2f} GB", state, model.licence, origin)
    results().print(table)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models of the folder. Default: all that were pulled.")
    ] = None,
    *,
    folder: Folder = MODELS,
) -> None:
    """Read the files again and compare them with their digests; exit code 1 where one is not as it came."""
    volume = ModelVolume(folder)
    pulled = {model.name: model.size for model in volume.models() if model.complete and model.origin}
    chosen = names or sorted(pulled)
    if not chosen:
        raise ConfigurationError(f"no model in {folder} was pulled, so there is nothing to compare")
    differences = 0
    for name in chosen:
        with shown_progress(pulled.get(name, 0)) as progress:
            found = volume.verify(name, progress=progress)
        differences += len(found)
        print(f"{name}: {'as it came' if not found else f'{len(found)} file(s) differ'}")
        for difference in found:
            print(f"  {difference.what}: {difference.path}")
    raise typer.Exit(1 if differences else 0)


def _source(text: str) -> AbstractContextManager[Source]:
    """A path that is there, else a model of the hub."""
    path = Path(text)
    if path.is_dir():
        return nullcontext(FolderModel(path))
    if path.name.endswith(ARCHIVES):
        return nullcontext(ArchiveModel(path))
    model, _, revision = text.partition("@")
    return HubModel(model, revision or None)


def _default_name(origin: str) -> str:
    stem = origin.rpartition("/")[2].lower()
    return next((stem.removesuffix(ending) for ending in ARCHIVES if stem.endswith(ending)), stem)


def _describe(name: str, offer: Offer, *, missing: int) -> None:
    table = Table(show_header=False)
    table.add_row("model", name)
    table.add_row("from", "@".join(filter(None, (offer.origin, offer.revision))))
    table.add_row("licence", offer.licence)
    table.add_row("files", str(len(offer.files)))
    table.add_row("size", f"{offer.size / 1e9:.2f} GB, {missing / 1e9:.2f} GB of it still to come")
    Console(stderr=True).print(table)
