"""Requests that can't be carried out: each gets the right problem, names what to change, and repeats nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest

from tests.api.service import Caller, make_image

CANARY = "kanarienvogel"
P = f'"prompt": "{CANARY}"'
PIXEL = make_image(8, 8)
WIDE = make_image(16, 8)
BLACK = make_image(16, 8, grey=0)


@dataclass(frozen=True)
class Bad:
    """One field's fault, and what the answer must say about it."""

    fields: dict[str, Any]
    field: str
    limit: str | None = None
    nearest: object = None


BAD_FIELDS = {
    "no prompt": Bad({"prompt": ...}, "prompt"),
    "prompt empty": Bad({"prompt": ""}, "prompt", "at least 1 character", 1),
    "prompt too long": Bad({"prompt": CANARY * 200}, "prompt", "at most 2000 characters", 2000),
    "prompt is a number": Bad({"prompt": 7}, "prompt", "a string"),
    "prompt is null": Bad({"prompt": None}, "prompt", "a string"),
    "prompt is a list": Bad({"prompt": [CANARY]}, "prompt", "a string"),
    "prompt is an object": Bad({"prompt": {CANARY: CANARY}}, "prompt", "a string"),
    "prompt has a NUL": Bad({"prompt": f"{CANARY}\0"}, "prompt"),
    "prompt has an escape": Bad({"prompt": f"{CANARY}\x1b[31m"}, "prompt"),
    "negative prompt too long": Bad({"negative_prompt": "x" * 2001}, "negative_prompt",
                                    "at most 2000 characters", 2000),
    "negative prompt is null": Bad({"negative_prompt": None}, "negative_prompt", "a string"),
    "unknown field": Bad({"promt": CANARY}, "promt", "one of prompt, ", "prompt"),
    "field of another service": Bad({"steps": 20}, "steps", "one of prompt, ", "num_inference_steps"),
    "field that is no name": Bad({f"{CANARY} says": 1}, "(unnamed)", "one of prompt, "),
    "field of half a pair": Bad({"\ud800": 1}, "body", "valid Unicode text, without half surrogate pairs"),
    "unknown model": Bad({"model": "tinny"}, "model", "tiny, other, painter", "tiny"),
    "model is a path": Bad({"model": f"../../{CANARY}"}, "model", "tiny, other, painter"),
    "model name too long": Bad({"model": CANARY * 20}, "model", "at most 128 characters", 128),
    "model is a number": Bad({"model": 1}, "model", "a string"),
    "width below": Bad({"width": 7}, "width", "at least 8", 8),
    "width above": Bad({"width": 100_000}, "width", "at most 8192", 8192),
    "width not of 8": Bad({"width": 130}, "width", "a multiple of 8 from 64 to 256", 128),
    "width above the model's": Bad({"width": 512}, "width", "a multiple of 8 from 64 to 256", 256),
    "width below the model's": Bad({"width": 32}, "width", "a multiple of 8 from 64 to 256", 64),
    "width is text": Bad({"width": "128"}, "width", "a whole number"),
    "width is true": Bad({"width": True}, "width", "a whole number"),
    "width is a fraction": Bad({"width": 128.5}, "width", "a whole number"),
    "width is huge": Bad({"width": 10**300}, "width", "at most 8192", 8192),
    "width is negative": Bad({"width": -128}, "width", "at least 8", 8),
    "height above the model's": Bad({"height": 264}, "height", "a multiple of 8 from 64 to 256", 256),
    "height is an object": Bad({"height": {}}, "height", "a whole number"),
    "too many pixels": Bad({"width": 256, "height": 256}, "height", "width x height at most 49152 pixels", 192),
    "no steps": Bad({"num_inference_steps": 0}, "num_inference_steps", "at least 1", 1),
    "too many steps": Bad({"num_inference_steps": 1001}, "num_inference_steps", "at most 1000", 1000),
    "too many steps for LCM": Bad({"scheduler": "lcm", "num_inference_steps": 51}, "num_inference_steps",
                                  "1 to 50 steps", 50),
    "steps is text": Bad({"num_inference_steps": "25"}, "num_inference_steps", "a whole number"),
    "guidance below": Bad({"guidance_scale": -0.1}, "guidance_scale", "at least 0", 0),
    "guidance above": Bad({"guidance_scale": 30.5}, "guidance_scale", "at most 30", 30),
    "guidance is text": Bad({"guidance_scale": "7.5"}, "guidance_scale", "a number"),
    "guidance is true": Bad({"guidance_scale": True}, "guidance_scale", "a number"),
    "unknown scheduler": Bad({"scheduler": "euler_b"}, "scheduler", "dpmpp_2m, ", "euler_a"),
    "scheduler is null's text": Bad({"scheduler": ""}, "scheduler", "dpmpp_2m, "),
    "scheduler name too long": Bad({"scheduler": CANARY * 9}, "scheduler", "at most 64 characters", 64),
    "seed below": Bad({"seed": -1}, "seed", "at least 0", 0),
    "seed above": Bad({"seed": 2**63}, "seed", f"at most {2**63 - 9}", 2**63 - 9),
    "seed is a fraction": Bad({"seed": 0.5}, "seed", "a whole number"),
    "no images": Bad({"num_images": 0}, "num_images", "at least 1", 1),
    "too many images": Bad({"num_images": 9}, "num_images", "at most 8", 8),
    "images is null": Bad({"num_images": None}, "num_images", "a whole number"),
    "images is a list": Bad({"num_images": [1]}, "num_images", "a whole number"),
    "unknown tier": Bad({"tier": "premium"}, "tier", "one of preview, standard, quality"),
    "tier in capitals": Bad({"tier": "Standard"}, "tier", "one of preview, standard, quality", "standard"),
    "tier is a number": Bad({"tier": 1}, "tier", "one of preview, standard, quality", "preview"),
    "unknown format": Bad({"output_format": "jpg"}, "output_format", "one of png, jpeg, webp"),
    "format that runs scripts": Bad({"output_format": "svg"}, "output_format", "one of png, jpeg, webp"),
    "deadline in the past": Bad({"deadline_seconds": -5}, "deadline_seconds", "at least 1", 1),
    "deadline too far": Bad({"deadline_seconds": 10**6}, "deadline_seconds", "at most 86400", 86_400),
    "metadata is text": Bad({"metadata": CANARY}, "metadata", "an object"),
    "metadata is a list": Bad({"metadata": [CANARY]}, "metadata", "an object"),
    "metadata is null": Bad({"metadata": None}, "metadata", "an object"),
    "metadata value is a number": Bad({"metadata": {"order": 1}}, "metadata", "a string"),
    "metadata value is an object": Bad({"metadata": {"order": {}}}, "metadata", "a string"),
    "metadata value too long": Bad({"metadata": {"order": CANARY * 50}}, "metadata", "at most 512 characters", 512),
    "metadata name too long": Bad({"metadata": {CANARY * 9: "1"}}, "metadata", "at most 64 characters", 64),
    "metadata name empty": Bad({"metadata": {"": "1"}}, "metadata", "at least 1 character", 1),
    "too much metadata": Bad({"metadata": {str(n): "1" for n in range(17)}}, "metadata",
                             "at most 16 names", 16),
    "metadata has half a pair": Bad({"metadata": {"order": "\udc00"}}, "metadata"),
    "image is a number": Bad({"init_image": 7}, "init_image", "a string"),
    "image is an object": Bad({"init_image": {"url": f"https://{CANARY}.example"}}, "init_image", "a string"),
    "image is a URL": Bad({"init_image": f"https://{CANARY}.example/a.png"}, "init_image", "base64"),
    "image is a local file": Bad({"init_image": f"file:///etc/{CANARY}"}, "init_image", "base64"),
    "image is a data URL": Bad({"init_image": f"data:image/png;base64,{PIXEL}"}, "init_image", "base64"),
    "image is in broken lines": Bad({"init_image": PIXEL[:40] + "\n" + PIXEL[40:]}, "init_image", "base64"),
    "image is empty": Bad({"init_image": ""}, "init_image", "a PNG, JPEG or WebP file"),
    "image is text in base64": Bad({"init_image": "a2FuYXJpZW52b2dlbA=="}, "init_image", "a PNG, JPEG or WebP file"),
    "image is cut off": Bad({"init_image": PIXEL[:60]}, "init_image", "a whole PNG, JPEG or WebP file"),
    "image of too many bytes": Bad({"init_image": "A" * 13_981_020}, "init_image", "at most 10485760 bytes",
                                   10_485_760),
    "mask without an image": Bad({"mask_image": PIXEL}, "mask_image", "with init_image only"),
    "mask of another size": Bad({"init_image": WIDE, "mask_image": PIXEL}, "mask_image",
                                "16x8 pixels, as init_image"),
    "mask that marks nothing": Bad({"init_image": WIDE, "mask_image": BLACK}, "mask_image", "some white"),
    "mask for a model that can't": Bad({"model": "other", "init_image": PIXEL, "mask_image": PIXEL}, "mask_image",
                                       "one of the models tiny, painter"),
    "painter without a mask": Bad({"model": "painter", "init_image": PIXEL}, "mask_image",
                                  "init_image and mask_image"),
    "strength below": Bad({"strength": 0.0}, "strength", "more than 0", 0),
    "strength above": Bad({"strength": 1.5}, "strength", "at most 1", 1),
    "strength is text": Bad({"strength": "0.5"}, "strength", "a number"),
    "strength without an image": Bad({"strength": 0.5}, "strength", "with init_image only"),
    "strength of no step": Bad({"init_image": PIXEL, "strength": 0.01, "num_inference_steps": 20}, "strength",
                               "strength x num_inference_steps at least 1, ", 0.05),
    "blur below": Bad({"mask_blur": -1}, "mask_blur", "at least 0", 0),
    "blur above": Bad({"mask_blur": 65}, "mask_blur", "at most 64", 64),
    "blur is a fraction": Bad({"mask_blur": 0.5}, "mask_blur", "a whole number"),
    "blur without a mask": Bad({"init_image": PIXEL, "mask_blur": 4}, "mask_blur", "with mask_image only"),
    "padding above": Bad({"mask_padding": 513}, "mask_padding", "at most 512", 512),
    "padding without a mask": Bad({"mask_padding": 32}, "mask_padding", "with mask_image only"),
    "adapters is an object": Bad({"adapters": {CANARY: 1}}, "adapters", "a list"),
    "adapters is text": Bad({"adapters": CANARY}, "adapters", "a list"),
    "adapters is null": Bad({"adapters": None}, "adapters", "a list"),
    "adapter is a name": Bad({"adapters": [CANARY]}, "adapters[0]", "a JSON object"),
    "adapter without a name": Bad({"adapters": [{"scale": 1}]}, "adapters[0].name"),
    "adapter with a weight": Bad({"adapters": [{"name": "ink", "weight": 1}]}, "adapters[0].weight",
                                 "one of name, scale"),
    "adapter with a field that is no name": Bad({"adapters": [{"name": "ink", f"{CANARY} says": 1}]},
                                                "adapters[0].(unnamed)", "one of name, scale"),
    "adapter name empty": Bad({"adapters": [{"name": ""}]}, "adapters[0].name", "at least 1 character", 1),
    "adapter name too long": Bad({"adapters": [{"name": CANARY * 9}]}, "adapters[0].name", "at most 64 characters", 64),
    "adapter is a path": Bad({"adapters": [{"name": f"../{CANARY}"}]}, "adapters[0].name", "ink, gore"),
    "unknown adapter": Bad({"adapters": [{"name": "gore"}, {"name": "inc"}]}, "adapters[1].name", "ink, gore", "ink"),
    "adapter of another owner": Bad({"adapters": [{"name": "logo"}]}, "adapters[0].name", "ink, gore"),
    "adapter of another model": Bad({"adapters": [{"name": "others"}]}, "adapters[0].name", "ink, gore"),
    "adapter twice": Bad({"adapters": [{"name": "ink"}, {"name": "ink"}]}, "adapters[1].name", "each adapter once"),
    "too many adapters": Bad({"adapters": [{"name": f"a{n}"} for n in range(9)]}, "adapters", "at most 8 entries", 8),
    "scale above": Bad({"adapters": [{"name": "ink", "scale": 2.5}]}, "adapters[0].scale", "at most 2", 2),
    "scale below": Bad({"adapters": [{"name": "ink", "scale": -3}]}, "adapters[0].scale", "at least -2", -2),
    "scale is text": Bad({"adapters": [{"name": "ink", "scale": "1"}]}, "adapters[0].scale", "a number"),
    "rescale above": Bad({"guidance_rescale": 1.5}, "guidance_rescale", "at most 1", 1),
    "rescale is true": Bad({"guidance_rescale": True}, "guidance_rescale", "a number"),
    "stop below": Bad({"guidance_stop": 0}, "guidance_stop", "more than 0", 0),
    "refiner that is not there": Bad({"refiner_start": 0.8}, "refiner_start", "no model of this service"),
    "refiner start below": Bad({"refiner_start": 0}, "refiner_start", "more than 0", 0),
    "refiner that never starts": Bad({"refiner_start": 1}, "refiner_start", "less than 1", 1),
    "preview below": Bad({"preview_every": -1}, "preview_every", "at least 0", 0),
    "preview above": Bad({"preview_every": 1001}, "preview_every", "at most 1000", 1000),
    "webhook's events": Bad(
        {"webhook": {"url": f"https://{CANARY}.example", "events": [CANARY]}}, "webhook.events", "one of job.started, "
    ),
    "webhook's unknown field": Bad({"webhook": {"url": "https://a.b", "urls": 1}}, "webhook.urls", "one of url, "),
}  # fmt: skip

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def form(boundary: str, *parts: str | bytes) -> bytes:
    """A multipart body of name, content, name, content."""
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + bytes(content) + b"\r\n"
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


# Whole bodies: (bytes, headers that differ, status, code)
BAD_BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "empty": (b"", {}, 400, "malformed_body"),
    "blank": (b" \n", {}, 400, "malformed_body"),
    "cut off": (f"{{{P}".encode(), {}, 400, "malformed_body"),
    "two values": (f"{{{P}}}{{{P}}}".encode(), {}, 400, "malformed_body"),
    "single quotes": (f"{{'prompt': '{CANARY}'}}".encode(), {}, 400, "malformed_body"),
    "trailing comma": (f"{{{P},}}".encode(), {}, 400, "malformed_body"),
    "NaN": (f'{{{P}, "guidance_scale": NaN}}'.encode(), {}, 400, "malformed_body"),
    "Infinity": (f'{{{P}, "guidance_scale": Infinity}}'.encode(), {}, 400, "malformed_body"),
    "minus Infinity": (f'{{{P}, "guidance_scale": -Infinity}}'.encode(), {}, 400, "malformed_body"),
    "a name twice": (f'{{{P}, "prompt": "b"}}'.encode(), {}, 400, "malformed_body"),
    "a name twice, deeper": (f'{{{P}, "metadata": {{"a": "1", "a": "2"}}}}'.encode(), {}, 400, "malformed_body"),
    "not UTF-8": (b'{"prompt": "' + CANARY.encode() + b'\xff"}', {}, 400, "malformed_body"),
    "UTF-16": (f"{{{P}}}".encode("utf-16"), {}, 400, "malformed_body"),
    "byte order mark": (b"\xef\xbb\xbf" + f"{{{P}}}".encode(), {}, 400, "malformed_body"),
    "overlong UTF-8": (b'{"prompt": "' + CANARY.encode() + b'\xc0\xaf"}', {}, 400, "malformed_body"),
    "raw newline in a string": (f'{{"prompt": "{CANARY}\n"}}'.encode(), {}, 400, "malformed_body"),
    "deep lists": (b'{"prompt": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", {}, 400, "malformed_body"),
    "deep objects": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, {}, 400, "malformed_body"),
    "17 levels": (b'{"metadata": ' + b"[" * 16 + b"]" * 16 + b"}", {}, 400, "malformed_body"),
    "open brackets only": (b"[" * 60_000, {}, 400, "malformed_body"),
    "endless number": (f'{{{P}, "seed": {"9" * 5_000}}}'.encode(), {}, 400, "malformed_body"),
    "a list": (f'["{CANARY}"]'.encode(), {}, 422, "invalid_params"),
    "a string": (f'"{CANARY}"'.encode(), {}, 422, "invalid_params"),
    "a number": (b"7", {}, 422, "invalid_params"),
    "null": (b"null", {}, 422, "invalid_params"),
    "huge exponent": (f'{{{P}, "guidance_scale": 1e999}}'.encode(), {}, 422, "invalid_params"),
    "half a surrogate pair": (f'{{"prompt": "{CANARY}\\ud800"}}'.encode(), {}, 422, "invalid_params"),
    "surrogates swapped": (f'{{"prompt": "{CANARY}\\udc00\\ud83d"}}'.encode(), {}, 422, "invalid_params"),
    "form": (f"prompt={CANARY}".encode(), {"Content-Type": "application/x-www-form-urlencoded"}, 415, "media"),
    "form of no parts": (b"--x--", FORM, 422, "invalid_params"),
    "form without a boundary": (b"--x--", {"Content-Type": "multipart/form-data"}, 415, "media"),
    "form with another boundary": (form("y", "request", b"{}"), FORM, 400, "malformed_body"),
    "form cut off": (form("x", "request", b"{}")[:-4], FORM, 400, "malformed_body"),
    "form of JSON": (f"{{{P}}}".encode(), FORM, 400, "malformed_body"),
    "form with a part twice": (form("x", "request", b"{}", "request", b"{}"), FORM, 400, "malformed_body"),
    "form with a part of no name": (b"--x\r\nContent-Type: a/b\r\n\r\n{}\r\n--x--", FORM, 400, "malformed_body"),
    "form with a part without a head": (b"--x\r\n{}\r\n--x--", FORM, 400, "malformed_body"),
    "form with long headers": (
        b"--x\r\n" + b"a: b\r\n" * 600 + form("x", "request", b"{}")[5:],
        FORM,
        400,
        "malformed_body",
    ),
    "form with many parts": (
        form("x", *(part for n in range(20) for part in (f"p{n}", b""))),
        FORM,
        400,
        "malformed_body",
    ),
    "form with an unknown part": (form("x", "request", f"{{{P}}}".encode(), CANARY, b""), FORM, 422, "invalid_params"),
    "form without a request": (form("x", "init_image", b"\x89PNG"), FORM, 422, "invalid_params"),
    "form whose request is no JSON": (form("x", "request", CANARY.encode()), FORM, 400, "malformed_body"),
    "form whose request is deep": (form("x", "request", b"[" * 99), FORM, 400, "malformed_body"),
    "form whose file is no picture": (
        form("x", "request", f"{{{P}}}".encode(), "init_image", CANARY.encode()),
        FORM,
        422,
        "invalid_params",
    ),
    "form with a file twice": (
        form("x", "request", f'{{{P}, "init_image": "{PIXEL}"}}'.encode(), "init_image", b"x"),
        FORM,
        422,
        "invalid_params",
    ),
    "form with an encoded part": (
        form("x", "request", b"{}").replace(b"\r\n\r\n{", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n{"),
        FORM,
        400,
        "malformed_body",
    ),
    "packed form": (form("x", "request", b"{}"), FORM | {"Content-Encoding": "gzip"}, 415, "media"),
    "plain text": (f"{{{P}}}".encode(), {"Content-Type": "text/plain"}, 415, "media"),
    "no type": (f"{{{P}}}".encode(), {"Content-Type": ""}, 415, "media"),
    "pickle": (f"{{{P}}}".encode(), {"Content-Type": "application/vnd.bentoml+pickle"}, 415, "media"),
    "another JSON": (f"{{{P}}}".encode(), {"Content-Type": "application/merge-patch+json"}, 415, "media"),
    "other charset": (f"{{{P}}}".encode(), {"Content-Type": "application/json; charset=utf-16"}, 415, "media"),
    "packed": (b"\x1f\x8b", {"Content-Encoding": "gzip"}, 415, "media"),
    "too large": (b" " * 29_360_129, {}, 413, "body_too_large"),
    "endless string": (b'{"prompt": "' + b"\\" * 2_000_000, {}, 400, "malformed_body"),
    "key empty": (f"{{{P}}}".encode(), {"Idempotency-Key": ""}, 422, "invalid_params"),
    "key with a space": (f"{{{P}}}".encode(), {"Idempotency-Key": f"{CANARY} 1"}, 422, "invalid_params"),
    "key too long": (f"{{{P}}}".encode(), {"Idempotency-Key": CANARY * 30}, 422, "invalid_params"),
    "key of empty quotes": (f"{{{P}}}".encode(), {"Idempotency-Key": '""'}, 422, "invalid_params"),
}


def test_there_are_enough_of_them() -> None:
    assert len(BAD_FIELDS) + len(BAD_BODIES) >= 100


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_bad_field_is_named_with_its_limit_and_the_nearest_value(caller: Caller, name: str) -> None:
    bad = BAD_FIELDS[name]
    body = {key: value for key, value in ({"prompt": CANARY} | bad.fields).items() if value is not ...}

    response = _send(caller, json.dumps(body).encode())

    problem = _problem(response, 422, "invalid_params")
    assert CANARY not in response.text
    assert [error["field"] for error in problem["errors"]] == [bad.field]
    error = problem["errors"][0]
    assert error["message"] != "is not valid"
    if bad.limit is None:
        assert error["limit"] is None
    else:
        assert error["limit"] == bad.limit or (bad.limit.endswith(", ") and error["limit"].startswith(bad.limit))
    if bad.nearest is not None:
        assert error["nearest"] == bad.nearest


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_body_gets_the_right_problem(caller: Caller, name: str) -> None:
    body, headers, status, code = BAD_BODIES[name]

    response = _send(caller, body, **headers)

    _problem(response, status, "unsupported_media_type" if code == "media" else code)
    assert CANARY not in response.text


def test_nothing_of_all_this_is_stored(caller: Caller) -> None:
    for body, headers, _status, _code in BAD_BODIES.values():
        _send(caller, body, **headers)

    assert caller.get("/jobs").json()["jobs"] == []


def test_the_nearest_value_of_each_number_is_accepted(caller: Caller) -> None:
    for name in (
        "width above the model's",
        "too many pixels",
        "too many steps for LCM",
        "guidance above",
        "seed above",
    ):
        bad = BAD_FIELDS[name]
        fixed = {"prompt": "a boat", **bad.fields, bad.field: bad.nearest}

        assert caller.generate(fixed).status_code == 202, name


def test_several_faults_are_told_at_once(caller: Caller) -> None:
    response = caller.generate({"num_images": 9, "seed": -1})

    fields = [error["field"] for error in response.json()["errors"]]
    assert fields == ["prompt", "seed", "num_images"]


def test_numbers_that_are_whole_fit_where_fractions_do(caller: Caller) -> None:
    assert caller.generate({"prompt": "a boat", "guidance_scale": 7}).json()["params"]["guidance_scale"] == 7.0


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_by_any_spelling_is_read(caller: Caller, content_type: str) -> None:
    assert _send(caller, b'{"prompt": "a boat"}', **{"Content-Type": content_type}).status_code == 202


def test_prompt_may_be_any_unicode_text(caller: Caller) -> None:
    prompt = "ein Boot \N{SAILBOAT}\N{VARIATION SELECTOR-16} \U0001f3a8 \N{ARABIC LETTER ALEF}\ttab\nline"

    assert caller.generate({"prompt": prompt}).json()["params"]["prompt"] == prompt


def test_huge_numbers_are_not_infinite() -> None:
    assert math.isinf(json.loads("1e999"))  # what the parser makes of it, and why the model must refuse it


def _send(caller: Caller, body: bytes, **headers: str) -> Any:
    return caller.client.post(
        "/generate", content=body, headers=caller.headers() | {"Content-Type": "application/json"} | headers
    )


def _problem(response: Any, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:darkroom:problem:{code}"
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem
