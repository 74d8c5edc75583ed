"""Previews through the whole service: seen by who follows the job, judged by the shipped checker, kept nowhere.

The policy forbids a harmless stand-in, red shapes. Each picture is judged by itself, so the assertions are about late
ones.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from darkroom.previews import MOST_SIDE
from tests.fixtures.ports import free_port
from tests.fixtures.processes import ROOT, eventually
from tests.integration.service import Caller, Service, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

STEPS, LATE = 24, 18  # one preview, of a picture that is nearly there


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("previews")
    policies = folder / "policies"
    policies.mkdir()
    text = (ROOT / "safety" / "policies" / "stand-in.toml").read_text(encoding="utf-8")
    text = text.replace('name = "stand-in"', 'name = "shown"').replace("[image]\n", "[image]\npreviews = true\n")
    (policies / "shown.toml").write_text(text, encoding="utf-8")
    models = ROOT / "models"
    with serving(
        folder,
        DARKROOM_POLICY="shown",
        DARKROOM_POLICY_DIR=str(policies),
        DARKROOM_IMAGE_EMBEDDER=str(models / "darkroom-tiny-clip"),
        DARKROOM_CONCEPT_CHECKER=str(models / "darkroom-tiny-checker"),
        DARKROOM_METRICS_PORT=str(free_port()),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    caller = Caller(service)
    yield caller
    caller.http.close()


def previews(caller: Caller, job_id: str) -> list[dict[str, Any]]:
    """Follow the job to its end; the previews that were seen on the way."""
    with caller.http.stream("GET", f"/jobs/{job_id}/events") as response:
        blocks = "".join(response.iter_text()).split("\n\n")
    return [json.loads(block.split("data: ")[1]) for block in blocks if block.startswith("event: preview")]


def counted(service: Service, outcome: str) -> float:
    text = httpx2.get(f"http://127.0.0.1:{service.environment['DARKROOM_METRICS_PORT']}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith(f'darkroom_previews_total{{outcome="{outcome}"}}')]
    return float(lines[0].split()[-1]) if lines else 0.0


def submit(caller: Caller, prompt: str, **more: Any) -> str:
    return caller.submit(prompt=prompt, preview_every=LATE, num_inference_steps=STEPS, seed=5, **more)


def test_who_follows_a_job_sees_small_pictures_of_the_image_to_come(caller: Caller, service: Service) -> None:
    seen: list[dict[str, Any]] = []

    def some() -> bool:  # one that is told before the follower listens is not told again
        seen.extend(previews(caller, submit(caller, "a blue circle on a white background", num_images=2)))
        return bool(seen)

    eventually(some, seconds=180)

    assert all((each["step"], each["content_type"]) == (LATE, "image/jpeg") for each in seen)
    data = base64.b64decode(seen[0]["data"])
    with Image.open(io.BytesIO(data)) as picture:
        assert max(picture.size) <= MOST_SIDE
        red, _, blue = (int(value) for value in picture.convert("RGB").resize((1, 1)).tobytes())
        assert blue > red
    stored = [path for path in service.folder.rglob("*") if path.is_file()]
    assert not any(data in path.read_bytes() for path in stored)
    assert seen[0]["data"][:80] not in service.logs()


def test_a_picture_of_what_the_policy_forbids_is_shown_to_nobody(caller: Caller, service: Service) -> None:
    withheld = counted(service, "withheld")

    job_id = submit(caller, "a red square on a white background")
    seen = previews(caller, job_id)

    assert seen == []
    assert caller.read(job_id)["status"] in {"blocked", "in_review"}
    assert counted(service, "withheld") == withheld + 1


def test_previews_that_nobody_asked_for_are_not_made(caller: Caller, service: Service) -> None:
    shown = counted(service, "shown")

    job_id = caller.submit(prompt="a green circle on a white background", num_inference_steps=STEPS)

    assert previews(caller, job_id) == []
    assert counted(service, "shown") == shown
