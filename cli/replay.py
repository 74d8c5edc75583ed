"""`darkroom replay`: makes the images of a job or of a file again, and says what is different.

Images are compared by the digest of their pixels before marking: files differ anyway, since each carries a mark and a
signature of its own. Where the digests differ, the distance between the files' pixels says how far off the replay is;
two marks alone make about 41 dB.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import Client, ServiceRefused
from cli.connection import Data, Key, Url, connect
from cli.console import say
from cli.data_folder import DEFAULT
from cli.generate import read_file
from darkroom.job_ids import is_job_id
from safety.provenance.recipe import parse_recipe
from safety.provenance.replay import request_of_recipe

DIFFERENT = 1
PAUSE_SECONDS = 0.25
EQUAL_DB = 100.0  # what equal pixels are given, since infinity is no JSON


@dataclass(frozen=True)
class Original:
    """What is made again, and what it is compared with."""

    request: Mapping[str, Any]
    inputs: Sequence[str]  # fields of the input images that it needs
    pixels: Mapping[int, str | None]  # digest of each image before marking, by index
    files: Mapping[int, bytes]


@dataclass(frozen=True)
class Difference:
    """One image against its original. `same` is None where no digest says it."""

    image: int
    same: bool | None
    psnr_db: float | None  # of the files; None for other sizes

    def __str__(self) -> str:
        says = {True: "the same pixels", False: "DIFFERENT pixels", None: "no digest to compare"}[self.same]
        files = "files of different size" if self.psnr_db is None else f"files {self.psnr_db:.1f} dB apart"
        return f"image {self.image}: {says} before marking; {files}"


def replay(
    what: Annotated[str, typer.Argument(help="An image file, or the id of a job.")],
    *,
    init_image: Annotated[Path | None, typer.Option(help="The image that it started from.")] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask that it was made with.")] = None,
    url: Url = None,
    api_key: Key = None,
    data: Data = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Make an image again from its recipe and compare; exit code 1 where the pixels differ."""
    with connect(url, api_key, data) as client:
        original = _of_job(client, what) if is_job_id(what) else _of_file(client, Path(what))
        paths = {"init_image": init_image, "mask_image": mask}
        files = {field: read_file(path) for field, path in paths.items() if path is not None}
        if missing := set(original.inputs) - set(files):
            raise ServiceRefused(
                f"The recipe starts from {' and '.join(sorted(missing))}: pass --init-image and --mask."
            )
        job = _finished(client, str(client.submit(original.request, files)["id"]))
        differences = [_compared(client, image, original) for image in job["images"]]
    if as_json:
        print(json.dumps({"job_id": job["id"], "images": [asdict(each) for each in differences]}))
    else:
        say(f"Made again as {job['id']}.")
        print("\n".join(str(each) for each in differences))
    raise typer.Exit(0 if differences and all(each.same is not False for each in differences) else DIFFERENT)


def _of_job(client: Client, job_id: str) -> Original:
    recipe, job = client.recipe(job_id), client.job(job_id)
    files = {image["index"]: client.image(image) for image in job["images"]}
    pixels = {image["index"]: image["pixels_sha256"] for image in recipe["images"]}
    return Original(recipe["request"], list(recipe["inputs"]), pixels, files)


def _of_file(client: Client, path: Path) -> Original:
    picture = read_file(path)
    text = client.verify(picture)["recipe"]
    try:
        recipe = parse_recipe(text or "")
        request = request_of_recipe(recipe)
    except ValueError as error:
        raise ServiceRefused(f"{path} can't be made again: {error}.") from None
    given = {"init_image": recipe.init_image, "mask_image": recipe.mask_image}
    inputs = [field for field, digest in given.items() if digest is not None]
    return Original(request, inputs, {0: recipe.pixels}, {0: picture})


def _finished(client: Client, job_id: str) -> Mapping[str, Any]:
    job = client.job(job_id)
    while job["status"] in {"queued", "running"}:
        time.sleep(PAUSE_SECONDS)
        job = client.job(job_id)
    if job["status"] != "succeeded":
        raise ServiceRefused(f"The replay {job_id} ended as {job['status']}.")
    return job


def _compared(client: Client, image: Mapping[str, Any], original: Original) -> Difference:
    index, before = image["index"], original.pixels.get(image["index"])
    same = None if before is None or image["pixels_sha256"] is None else image["pixels_sha256"] == before
    return Difference(index, same, _psnr(client.image(image), original.files.get(index)))


def _psnr(data: bytes, other: bytes | None) -> float | None:
    """Peak signal to noise between two files' pixels."""
    import numpy as np  # noqa: PLC0415 -- the other commands should not wait for it
    from PIL import Image  # noqa: PLC0415

    if other is None:
        return None
    first, second = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB"), float) for each in (data, other))
    if first.shape != second.shape:
        return None
    error = float(np.mean((first - second) ** 2))
    return 10 * math.log10(255**2 / error) if error else EQUAL_DB
