"""Adapters: who sees which, what a request makes of them, and that their words are judged."""

from __future__ import annotations

from collections.abc import Callable

from tests.api.service import Caller


def test_an_owner_sees_what_is_for_everybody_and_its_own(make_caller: Callable[..., Caller]) -> None:
    anyone, acme = make_caller(), make_caller(owner="acme")

    names = [[adapter["name"] for adapter in who.get("/adapters").json()["adapters"]] for who in (anyone, acme)]

    assert names == [["ink", "gore", "others"], ["ink", "gore", "logo", "others"]]


def test_an_adapter_is_told_with_all_a_caller_needs(caller: Caller) -> None:
    first = caller.get("/adapters").json()["adapters"][0]

    assert first == {
        "name": "ink",
        "model": "tiny",
        "description": "Black lines.",
        "trigger": "ink drawing",
        "licence": "MIT",
        "default_scale": 0.8,
    }


def test_adapters_need_a_key(caller: Caller) -> None:
    assert caller.client.get("/adapters").status_code == 401


def test_adapters_stand_in_the_recipe_with_their_scales(caller: Caller) -> None:
    job = caller.generate({"prompt": "a boat", "adapters": [{"name": "ink"}]}).json()

    assert job["params"]["adapters"] == [{"name": "ink", "scale": 0.8}]


def test_an_owners_adapter_works_for_that_owner(make_caller: Callable[..., Caller]) -> None:
    body = {"prompt": "a boat", "adapters": [{"name": "logo", "scale": 0.5}]}

    assert make_caller(owner="acme").generate(body).status_code == 202
    assert make_caller().generate(body).status_code == 422


def test_an_adapters_words_are_judged_with_the_prompt(caller: Caller) -> None:
    job = caller.generate({"prompt": "a boat", "adapters": [{"name": "gore"}]}).json()

    assert job["status"] == "blocked"


def test_models_say_what_they_can_do(caller: Caller) -> None:
    models = {model["name"]: model for model in caller.get("/models").json()["models"]}

    assert models["tiny"]["capabilities"] == ["text_to_image", "image_to_image", "inpaint"]
    assert models["other"]["capabilities"] == ["text_to_image", "image_to_image"]
    assert models["painter"]["capabilities"] == ["inpaint"]
    assert models["tiny"]["embeddings"] == ["<moss>"]
    assert caller.get("/models").json()["limits"]["input_image_bytes"] == 10_485_760


def test_previews_are_off_and_that_is_said(caller: Caller) -> None:
    job = caller.generate({"prompt": "a boat", "preview_every": 5}).json()

    assert job["warnings"] == ["previews are off for you; preview_every has no effect"]
    assert job["params"]["preview_every"] == 0
