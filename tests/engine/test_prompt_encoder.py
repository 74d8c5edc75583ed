"""Prompts mean to the engine what they mean to compel and to diffusers; plain ones are equal bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.parity import BOUND, difference, run_crowd
from bench.text_parity import TextReference
from engine import Engine, ImageRequest, PipelineSpec
from engine.loader import FAMILIES
from engine.prompt_encoder import MAX_LOWERED
from tests.engine.factories import make_request
from tests.engine.tiny_sdxl import save_tiny_refiner, save_tiny_sdxl

SHIPPED = Path(__file__).parents[2] / "models" / "darkroom-tiny"
CPU = torch.device("cpu")

WEIGHTED = {
    "above": "a (red:1.4) circle",
    "far above": "a (red:4) circle",
    "below": "a (red:0.5) circle",
    "nothing": "a (red:0) circle",
    "several": "a (red:0.3) [circle] on (blue:1.5), ((pastel))",
    "whole": "(a red circle:0.7)",
    "nested": "(a (red:1.2) circle:0.8) on blue",
    "escaped": r"a red circle \(pastel\) on [blue]",
    "literal": "a red circle :) on (blue",
}
LONG = {
    "plain": "a red circle on a blue background, " * 12,
    "weighted": "a (red:1.4) circle on a (blue:1.2) background, " * 12,
    "lowered": "a (red:0.6) circle on a blue background, " * 12,
    "lowered in one chunk": "a red circle on a blue background, " * 12 + "[red]",
}


def load(folder: Path, kind: str = "sd") -> Any:
    return FAMILIES[kind](PipelineSpec("tiny", str(folder), family=kind), CPU, torch.float32)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def models(tiny: Path, sdxl: Path) -> dict[str, tuple[Any, TextReference]]:
    """Each model as the engine has it, and as diffusers and compel have it."""
    return {
        "tiny": (load(tiny), TextReference(tiny)),
        "shipped": (load(SHIPPED), TextReference(SHIPPED)),
        "sdxl": (load(sdxl, "sdxl"), TextReference(sdxl, family="sdxl")),
    }


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("prompt", ["", "a red circle", "ünïcode 🎈", "a" * 75, "a, b; c - d: 5% of e's", "<lora:x:1>"])
@pytest.mark.parametrize("model", ["tiny", "shipped", "sdxl"])
def test_a_plain_prompt_is_the_pipelines_bit_by_bit(model: str, prompt: str, models: Any) -> None:
    family, reference = models[model]
    expected = reference.pipeline.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )

    ours = family.encode(prompt)

    assert torch.equal(ours["encoder_hidden_states"], expected[0])
    if model == "sdxl":
        assert torch.equal(ours["text_embeds"], expected[2])


@pytest.mark.parametrize("case", [*WEIGHTED, *LONG])
@pytest.mark.parametrize("model", ["tiny", "shipped", "sdxl"])
def test_weights_and_long_prompts_are_compels(model: str, case: str, models: Any) -> None:
    family, reference = models[model]
    prompt = {**WEIGHTED, **LONG}[case]

    ours = family.encode(prompt)["encoder_hidden_states"]

    assert difference(ours, reference.embedding(prompt)) < BOUND
    assert (ours.shape[1] > 77) == (case in LONG)


@pytest.mark.parametrize("prompt", ["a (red:0.9) circle", "a red (circle:1.1)", "a red circle, " * 20, "a" * 76])
def test_the_pooled_embedding_is_that_of_the_texts_first_75_tokens(prompt: str, models: Any) -> None:
    family, reference = models["sdxl"]

    assert difference(family.encode(prompt)["text_embeds"], reference.pooled(prompt)) < BOUND


def test_a_weight_of_one_changes_nothing(models: Any) -> None:
    family, _ = models["shipped"]

    plain, weighted = (
        family.encode(prompt)["encoder_hidden_states"] for prompt in ("a red circle", "a (red:1) circle")
    )

    assert torch.equal(plain, weighted)


def test_lowered_stretches_beyond_the_limit_are_scaled_without_further_forwards(models: Any) -> None:
    family, _ = models["shipped"]
    rows: list[int] = []
    hook = family.pipeline.text_encoder.register_forward_pre_hook(
        lambda _module, inputs: rows.append(inputs[0].shape[0])
    )

    told = family.encode("[a] b " * 200)["encoder_hidden_states"]
    hook.remove()

    assert rows == [7, MAX_LOWERED], "six chunks and the empty prompt, then what they are without a stretch"
    assert torch.isfinite(told).all()


@pytest.mark.parametrize(
    ("prompt", "chunks"), [("", 1), ("a" * 75, 1), ("a" * 76, 2), ("a " * 150, 2), ("a " * 151, 3), ("a " * 2000, 8)]
)
def test_chunks_are_counted_before_anything_is_encoded(prompt: str, chunks: int, models: Any) -> None:
    family, _ = models["tiny"]

    assert family.key(make_request(prompt=prompt)) == (64, 64, chunks)
    assert family.encode(prompt)["encoder_hidden_states"].shape == (1, 77 * chunks, 32)


def test_an_unguided_image_does_not_read_its_negative_prompt(models: Any) -> None:
    family, _ = models["tiny"]
    request = make_request(negative_prompt="a " * 100)

    assert family.key(request) == (64, 64, 2)
    assert family.key(make_request(negative_prompt="a " * 100, guidance_scale=1.0)) == (64, 64, 1)


def mix(**changes: Any) -> list[ImageRequest]:
    """Short and long, weighted and plain, as prompt and as negative prompt."""
    prompts = ["a red circle", *WEIGHTED.values(), *LONG.values()]
    requests = [make_request(prompt=prompt, seed=index, **changes) for index, prompt in enumerate(prompts)]
    negatives = ["(blurry:1.3)", LONG["plain"], LONG["lowered"]]
    return [
        *requests,
        *(make_request(negative_prompt=each, seed=50 + index, **changes) for index, each in enumerate(negatives)),
        make_request(prompt=LONG["plain"], negative_prompt="ugly " * 40, seed=60, **changes),
    ]


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_images_of_all_kinds_of_prompts_in_one_crowd_are_the_pipelines(kind: str, tiny: Path, sdxl: Path) -> None:
    folder = {"sd": tiny, "sdxl": sdxl}[kind]
    # The reference has no prompt to be empty, so a negative one is given everywhere.
    requests = [make_request(**{**vars(each), "negative_prompt": each.negative_prompt or "grey"}) for each in mix()]
    reference = TextReference(folder, family=kind)
    engine = Engine({"tiny": PipelineSpec("tiny", str(folder), family=kind)}, device="cpu", keep_latents=True)
    engine.load("tiny")

    with engine:
        crowd = run_crowd(engine, "tiny", requests)

    for latents, request in zip(crowd, requests, strict=True):
        assert difference(latents, reference.latents(request)) < BOUND, request.prompt


def test_an_empty_negative_prompt_of_sdxl_stays_zero_beside_a_long_prompt(sdxl: Path) -> None:
    request = make_request(prompt=LONG["plain"], negative_prompt="")
    family = load(sdxl, "sdxl")

    conditioning = family.prepare(request, family.encode).conditioning

    negative, positive = conditioning["encoder_hidden_states"]
    assert not negative.any()
    assert positive.any()
    assert positive.shape[0] > 77


def test_a_refiner_reads_long_prompts_too(tmp_path: Path) -> None:
    family = load(save_tiny_refiner(tmp_path), "sdxl")

    told = family.encode(LONG["weighted"])

    assert told["encoder_hidden_states"].shape[1:] == (77 * family.key(make_request(prompt=LONG["weighted"]))[2], 32)
    assert told["text_embeds"].shape == (1, 32)


def test_nothing_of_a_prompt_is_logged(models: Any, caplog: pytest.LogCaptureFixture) -> None:
    family, _ = models["tiny"]

    family.encode("secret " * 100)

    assert caplog.records == []
