"""`darkroom references`: the pictures that outputs must not resemble.

What is kept is a vector and a perceptual hash for each, in one file that a worker reads (`DARKROOM_REFERENCES`) and
reads again when it changes; never the picture. Works on the file itself, needs no running service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, UnidentifiedImageError
from rich.table import Table

from cli.console import results, say
from darkroom.errors import ConfigurationError
from safety.image.references import EVERYBODY, Reference, References, load_references, save_references
from safety.provenance.phash import looks_of

app = typer.Typer(no_args_is_help=True, help="Manage the pictures that outputs must not resemble.")
SetFile = Annotated[
    Path, typer.Option("--set", envvar="DARKROOM_REFERENCES", help="File of the references; made if missing.")
]
Owner = Annotated[str, typer.Option(help="The owner whose jobs it counts for; everybody's if left out.")]


@app.command()
def add(
    pictures: Annotated[list[Path], typer.Argument(help="Image files; each is named by its file's name.")],
    *,
    set_file: SetFile = Path("data/references.npz"),
    embedder: Annotated[
        Path, typer.Option(envvar="DARKROOM_IMAGE_EMBEDDER", help="Folder of the CLIP that the worker uses, too.")
    ] = Path("models/darkroom-tiny-clip"),
    owner: Owner = EVERYBODY,
) -> None:
    """Add pictures."""
    from safety.image.embedder import ImageEmbedder  # noqa: PLC0415 - it loads torch, which the other verbs don't need

    clip = ImageEmbedder(embedder)
    empty = References.empty(clip.sha256, dimensions=clip.dimensions)
    references = load_references(set_file) if set_file.exists() else empty
    if references.embedder != clip.sha256:
        raise ConfigurationError(f"the references {set_file} were made with another CLIP than {embedder}")
    entries, pixels = [Reference(path.name, owner) for path in pictures], [_read(path) for path in pictures]
    vectors = np.concatenate([clip([each]).numpy() for each in pixels])
    save_references(set_file, references.with_more(entries, vectors, [looks_of(each) for each in pixels]))
    say(f"{len(pictures)} added; the set holds {len(references) + len(pictures)}.")


@app.command("list")
def list_references(*, set_file: SetFile = Path("data/references.npz")) -> None:
    """List the set."""
    table = Table("name", "owner")
    for entry in load_references(set_file).entries:
        table.add_row(entry.name, entry.owner or "everybody")
    results().print(table)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The name that `list` shows.")],
    *,
    set_file: SetFile = Path("data/references.npz"),
    owner: Owner = EVERYBODY,
) -> None:
    """Take one out."""
    save_references(set_file, load_references(set_file).without(Reference(name, owner)))
    say(f"{name} is out.")


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigurationError(f"{path} is no image that can be read") from error
