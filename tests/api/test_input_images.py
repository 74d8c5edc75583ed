"""Pictures that come with a request: both ways in, what is stored of them, and when they are taken back."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from PIL import Image

from api.input_decoder import InputDecoder
from api.services import Services
from darkroom.async_job_store import AsyncJobStore
from darkroom.errors import InvalidParams
from darkroom.object_store import input_key
from darkroom.redis_client import make_async_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.api.service import Caller, Places, make_image, make_png, make_services, serving
from tests.fixtures.ports import free_port

PICTURE, MASK = make_png(128, 128, grey=90), make_png(128, 128)
BODY = {"prompt": "a red circle", "strength": 0.6}
BLOCKED_PROMPT = "a zzblockedterm"


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def inputs(places: Places) -> set[str]:
    """Every file under `inputs/`."""
    root = places.objects / "inputs"
    return {str(path.relative_to(places.objects)) for path in root.rglob("*") if path.is_file()}


def noisy(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def send_json(caller: Caller, body: dict[str, Any], files: dict[str, bytes], **headers: str) -> Any:
    return caller.generate(body | {name: as_text(data) for name, data in files.items()}, **headers)


@pytest.fixture(params=["json", "form"])
def send(request: pytest.FixtureRequest, caller: Caller) -> Callable[..., Any]:
    if request.param == "form":
        return caller.generate_form
    return lambda body, files, **headers: send_json(caller, body, files, **headers)


def test_pictures_are_stored_as_our_own_pngs_and_named_by_digest(send: Callable[..., Any], services: Services) -> None:
    answer = send(BODY, {"init_image": PICTURE, "mask_image": MASK})

    assert answer.status_code == 202, answer.text
    job = answer.json()
    params = job["params"]
    for name, grey, mode in (("init", (90, 90, 90), "RGB"), ("mask", 255, "L")):
        stored = params[f"{name}_image"]
        data = services.objects.get(stored["key"])
        assert stored == {
            "key": input_key(job["id"], name),
            "sha256": hashlib.sha256(data).hexdigest(),
            "width": 128,
            "height": 128,
            "original": None,  # the caller's file had no manifest to pass on
            "original_type": None,
        }
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode, image.getpixel((5, 5))) == ("PNG", mode, grey)
    assert (params["strength"], job["warnings"]) == (0.6, [])


def test_the_callers_bytes_are_not_kept(send: Callable[..., Any], services: Services) -> None:
    job = send(BODY, {"init_image": PICTURE + b"<script>alert(1)</script>"}).json()

    assert b"script" not in services.objects.get(job["params"]["init_image"]["key"])


def test_a_size_is_taken_from_the_picture_with_a_warning(send: Callable[..., Any]) -> None:
    job = send({"prompt": "a boat"}, {"init_image": noisy(300, 200)}).json()

    assert (job["params"]["width"], job["params"]["height"]) == (256, 168)
    assert "256x168 was taken from init_image (300x200)" in job["warnings"][0]


def test_a_picture_with_base64_and_as_a_part_is_the_same_body(caller: Caller, places: Places) -> None:
    files = {"init_image": PICTURE}

    first = send_json(caller, BODY, files, Idempotency_Key="one")
    after_first = inputs(places)
    again = caller.generate_form(BODY, files, Idempotency_Key="one")

    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.json()["id"], "true")
    assert inputs(places) == after_first, "what the repetition stored is gone again"
    assert again.json()["params"]["init_image"]["key"] in after_first


def test_another_picture_is_another_body_and_leaves_nothing(caller: Caller, places: Places) -> None:
    send_json(caller, BODY, {"init_image": PICTURE}, Idempotency_Key="two")
    before = inputs(places)

    answer = send_json(caller, BODY, {"init_image": MASK}, Idempotency_Key="two")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert inputs(places) == before


def test_refused_requests_leave_nothing(send: Callable[..., Any], places: Places) -> None:
    before = inputs(places)

    assert send(BODY | {"model": "none"}, {"init_image": PICTURE}).status_code == 422
    assert send(BODY, {"init_image": PICTURE, "mask_image": b"GIF89a"}).status_code == 422
    blocked = send({"prompt": BLOCKED_PROMPT}, {"init_image": PICTURE})

    assert blocked.json()["status"] == "blocked"
    assert inputs(places) == before


class GoingAway(AsyncJobStore):
    """Has said that there is room, and is away when the job is handed in."""

    async def require_room(self, *_: Any, **__: Any) -> None:
        return None


def test_pictures_stay_when_nobody_knows_whether_the_job_was_made(caller: Caller, places: Places) -> None:
    before = inputs(places)
    services = make_services(places)
    gone = make_async_redis(RedisSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0", redis_timeout_seconds=0.2))
    with serving(replace(services, jobs=GoingAway(gone, JobSettings()))) as client:
        answer = client.post("/generate", json=BODY | {"init_image": as_text(PICTURE)}, headers=caller.headers())

    assert answer.status_code == 503
    assert len(inputs(places) - before) == 1


def test_no_link_leads_to_an_input(caller: Caller) -> None:
    key = send_json(caller, BODY, {"init_image": PICTURE}).json()["params"]["init_image"]["key"]

    assert caller.get(f"/objects/{key}").status_code in {404, 422}
    assert "url" not in json.dumps(caller.get("/jobs").json()["jobs"][0]["params"])


def test_a_picture_without_a_key_is_not_even_read(caller: Caller, places: Places) -> None:
    before = inputs(places)

    assert caller.client.post("/generate", json=BODY | {"init_image": make_image(8, 8)}).status_code == 401
    assert inputs(places) == before


def test_a_decoder_that_dies_has_met_a_file_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.child_program.WALL_SECONDS", 0.01)

    with pytest.raises(InvalidParams) as caught:
        anyio.run(InputDecoder().decode, "init_image", "picture", PICTURE)

    (problem,) = caught.value.problems
    assert problem.field == "init_image"
    assert "memory and the time" in problem.message


def test_an_unknown_kind_is_a_bug_and_refused() -> None:
    with pytest.raises(InvalidParams):
        anyio.run(InputDecoder().decode, "init_image", "film", PICTURE)


def test_many_pictures_at_once_are_all_decoded(services: Services) -> None:
    async def decode_all() -> list[int]:
        widths: list[int] = []

        async def one(width: int) -> None:
            widths.append((await decoder.decode("init_image", "picture", make_png(width, 8))).width)

        async with anyio.create_task_group() as group:
            for width in range(8, 20):
                group.start_soon(one, width)
        return widths

    decoder = InputDecoder()

    assert sorted(anyio.run(decode_all)) == list(range(8, 20))
