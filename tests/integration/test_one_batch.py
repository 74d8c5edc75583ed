"""Two owners' jobs of every kind in one batch: from an image, into an image, three LoRAs, plain; real processes."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from darkroom.keys import KeyStore
from safety.provenance.recipe import parse_recipe
from tests.fixtures.ports import free_port
from tests.integration.service import Caller, Service, serving
from tests.integration.styles import write_catalogue

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

STEPS = 60  # long enough that all are under way before the first ends
ROWS_EACH = 2  # guided
FULL = 16  # rows of eight guided images
CROWD = 12  # rows that only seven or more of the eight fill


def picture() -> bytes:
    """White, with a yellow square: colours that the model's autoencoder keeps."""
    image = Image.new("RGB", (128, 128), (255, 255, 255))
    image.paste((240, 240, 90), (40, 40, 88, 88))
    return _png(image)


def mask() -> bytes:
    """White in the upper left quarter."""
    image = Image.new("L", (128, 128))
    image.paste(255, (0, 0, 64, 64))
    return _png(image)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


INIT = {"init_image": _text(picture())}
MASKED = {**INIT, "mask_image": _text(mask())}
#: What each job has beside a prompt, and who asks for it.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("ada", {}),
    "image to image": ("ada", {**INIT, "strength": 0.9}),
    "inpaint": ("ada", {**MASKED, "mask_blur": 2}),
    "first style": ("ada", {"adapters": [{"name": "ink"}]}),
    "second style": ("bob", {"adapters": [{"name": "neon", "scale": 0.7}], "guidance_rescale": 0.5}),
    "both styles and an own one": (
        "bob", {"adapters": [{"name": "ink", "scale": -0.5}, {"name": "neon"}, {"name": "logo", "scale": 0.8}]},
    ),
    "style into an image": ("bob", {**MASKED, "adapters": [{"name": "logo"}]}),
    "plain, another sampler": ("bob", {"scheduler": "euler_a", "guidance_scale": 5}),
}  # fmt: skip


def order(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": "a red circle on a blue background", "seed": number, "num_inference_steps": STEPS, **fields}


@dataclass(frozen=True)
class Owners:
    """Two callers, and the figures of the worker that serves both."""

    ada: Caller
    bob: Caller
    metrics_url: str

    def of(self, kind: str) -> Caller:
        return self.ada if KINDS[kind][0] == "ada" else self.bob

    def forwards(self, most: str = "+Inf") -> float:
        """Forward passes so far that had at most so many rows."""
        text = httpx2.get(self.metrics_url, timeout=10).text
        found = re.search(rf'darkroom_batch_rows_bucket\{{le="{re.escape(most)}",model="darkroom-tiny"\}} (\S+)', text)
        return float(found[1]) if found else 0.0

    def rows(self) -> float:
        text = httpx2.get(self.metrics_url, timeout=10).text
        found = re.search(r'darkroom_batch_rows_sum\{model="darkroom-tiny"\} (\S+)', text)
        return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("batch")
    settings = {
        "DARKROOM_CATALOGUE": str(write_catalogue(folder)),
        "DARKROOM_METRICS_PORT": str(free_port()),
        "DARKROOM_MAX_ROWS": str(FULL),
        "DARKROOM_WATERMARK": "off",  # every job has a mark of its own, and pixels are compared here
        "DARKROOM_PROFILE_SECONDS": "0",  # a machine that prefers small batches shall share one all the same
    }
    with serving(folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def owners(service: Service) -> Iterator[Owners]:
    token = KeyStore(service.redis).create("bob", "integration").token
    ada, bob = Caller(service), Caller(replace(service, token=token))
    metrics_url = f"http://127.0.0.1:{service.environment['DARKROOM_METRICS_PORT']}/metrics"
    ada.result(ada.submit(prompt="a warm-up", num_inference_steps=4))
    yield Owners(ada, bob, metrics_url)
    ada.http.close()
    bob.http.close()


@dataclass(frozen=True)
class Shared:
    """All kinds made at once: the jobs, their pixels, and what the batch's metrics gained meanwhile."""

    jobs: dict[str, dict[str, Any]]
    files: dict[str, bytes]
    forwards: float
    crowded: float
    rows: float


@pytest.fixture(scope="module")
def shared(owners: Owners) -> Shared:
    forwards, small, rows = owners.forwards(), owners.forwards(f"{CROWD}.0"), owners.rows()
    ids = {
        kind: owners.of(kind).submit(**order(number, fields))
        for number, (kind, (_, fields)) in enumerate(KINDS.items())
    }
    jobs = {kind: owners.of(kind).result(job_id) for kind, job_id in ids.items()}
    files = {kind: owners.of(kind).download(jobs[kind]["images"][0]).content for kind in KINDS if jobs[kind]["images"]}
    gained = owners.forwards() - forwards
    crowded = gained - (owners.forwards(f"{CROWD}.0") - small)
    return Shared(jobs, files, forwards=gained, crowded=crowded, rows=owners.rows() - rows)


def test_every_kind_succeeds(shared: Shared) -> None:
    assert {kind: (job["status"], job["error"]) for kind, job in shared.jobs.items()} == dict.fromkeys(
        KINDS, ("succeeded", None)
    )


def test_they_shared_one_batch(shared: Shared) -> None:
    alone = sum(job["progress"]["steps"] for job in shared.jobs.values())  # forwards that eight lone jobs would take

    assert shared.rows == pytest.approx(ROWS_EACH * alone, rel=0.01)
    assert shared.forwards < alone / 3
    assert shared.crowded > STEPS / 3, "in these at least seven of the eight jobs took part"


def test_what_is_kept_of_an_image_is_kept(shared: Shared) -> None:
    start = _pixels(picture())
    for kind in ("inpaint", "style into an image"):
        painted = _pixels(shared.files[kind])
        kept = np.abs(painted[72:, 72:].astype(int) - start[72:, 72:]).mean()
        anew = np.abs(painted[:56, :56].astype(int) - start[:56, :56]).mean()
        assert kept < 12 < anew, (kind, kept, anew)


def test_every_image_is_the_one_of_its_job_alone(owners: Owners, shared: Shared) -> None:
    for number, (kind, (_, fields)) in enumerate(KINDS.items()):
        caller = owners.of(kind)
        job = caller.result(caller.submit(**order(number, fields)))
        alone = _pixels(caller.download(job["images"][0]).content)
        difference = np.abs(alone.astype(int) - _pixels(shared.files[kind]))
        assert difference.max() <= 3, kind
        assert difference.mean() < 0.05, kind


def test_the_styles_change_the_image(shared: Shared) -> None:
    pictures = {kind: _pixels(shared.files[kind]) for kind in ("first style", "second style")}

    assert np.abs(pictures["first style"].astype(int) - pictures["second style"]).mean() > 5


def test_the_files_name_styles_and_inputs(shared: Shared) -> None:
    for kind, (_, fields) in KINDS.items():
        with Image.open(io.BytesIO(shared.files[kind])) as image:
            recipe = parse_recipe(image.info["parameters"])
        params = shared.jobs[kind]["params"]
        assert [name for name, _ in recipe.adapters] == [use["name"] for use in fields.get("adapters", [])]
        assert recipe.init_image == (params["init_image"] or {}).get("sha256")
        assert recipe.mask_image == (params["mask_image"] or {}).get("sha256")


def test_another_owners_style_stays_unknown(owners: Owners) -> None:
    names = [
        {adapter["name"] for adapter in caller.http.get("/adapters").json()["adapters"]}
        for caller in (owners.ada, owners.bob)
    ]
    refused = owners.ada.http.post("/generate", json={"prompt": "a circle", "adapters": [{"name": "logo"}]})

    assert names == [{"ink", "neon"}, {"ink", "neon", "logo"}]
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "adapters[0].name")
    assert "logo" not in refused.text


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
