"""How close the engine's images come to diffusers' own, feature by feature.

Each image is made by the reference (diffusers' pipeline for that feature; compel's embeddings where prompts have
weights), by the engine alone, and in one crowd of all features of its model, among neighbours that are cancelled or
fail. What the shipped model can't show is shown on tiny pipelines with random weights, in the real formats.

    python -m bench.exactness        # writes docs/exactness.md
"""

from __future__ import annotations

import argparse
import platform
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import diffusers
import numpy as np
import torch

from bench.image_parity import ImageReference, half_mask
from bench.parity import (
    BOUND,
    CONSISTENCY,
    CROWD,
    GUIDANCE,
    REFERENCE,
    Reference,
    consistency_row,
    difference,
    random_mix,
    random_requests,
    requests,
    run_alone,
    run_crowd,
    small_matrix,
)
from bench.parity_page import Beyond, Row
from bench.safe_parity import SafeReference
from bench.sdxl_parity import SdxlReference
from bench.text_parity import TextReference
from darkroom.schedulers import SCHEDULERS
from engine import AdapterFile, AdapterUse, EmbeddingFile, Engine, ImageRequest, PipelineSpec, SafeGuidance
from engine.safe_guidance import LEVELS
from tests.engine.lora.files import in_kohya_names, in_peft_names, random_lora, save_lora
from tests.engine.lora.reference import LoraReference
from tests.engine.tiny import TEXT_WIDTH, save_tiny_pipeline
from tests.engine.tiny_sdxl import save_tiny_refiner, save_tiny_sdxl
from tests.engine.words import listed, random_vectors, save_embedding

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "models" / "darkroom-tiny"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
STEP_BY_STEP = (8, 25)  # steps
SOME_SAMPLERS = ("dpmpp_2m", "euler", "heun", "pndm", "dpmpp_2m_sde_karras")
WORD = "fern"
CONCEPT = "a yellow star"  # to be kept away from
TITLES = {name: SCHEDULERS[name].title for name in REFERENCE}

PAGE = """\
# Exactness

Every image of the engine equals that of diffusers' own pipeline for the same request, up to rounding, whoever shares
its batch. Each figure is the worst relative difference ||ours - reference|| / ||reference|| of the final latents in
fp32 on the CPU (step by step: of any single step). Bound: {bound:g}. In the crowd all features of one model are mixed,
up to {crowd} images in flight, each joining while others run, among neighbours that are cancelled or fail.

| model | feature | images | alone | in the crowd |
|---|---|---|---|---|
{rows}

Worst: **{worst:.1e}**, over {images} images. Images beyond the bound:

{beyond}

Some samplers (PNDM here, SDE ones in more steps) carry rounding on and let it grow, the reference's own as well.

Rounding moves a consistency sampler's result more with each step, so LCM and TCD are held end to end in few steps at
guidance 1 and 2, and one step at a time beyond.

Random mixes on darkroom-tiny (scheduler, guidance 1 to 12, rescale, stop and 2 to 30 steps drawn at random), {mixes}
images in a crowd: worst {mixes_worst:.1e}; {above} above {bound:g}, where the bound becomes ten times the difference
that a batch of {crowd} makes to the reference itself; {mixes_beyond} above that.

Safe guidance is held against diffusers' StableDiffusionPipelineSafe. Its formula has a step in it (a point is turned
away or left alone), so that rounding near the step shows more than elsewhere.

`guidance_stop` is exact too, against diffusers' own cut-off callback; it is called approximate because its image is
another one than that of guidance to the end.

torch {torch}, diffusers {diffusers}, {machine}, {threads} thread(s). Made by `python -m bench.exactness`.
`bench/parity.md` has the samplers at more step counts and guidances, with its own images beyond the bound;
`tests/engine/` holds each feature at the bound on the tiny pipelines.
"""


class Latents(Protocol):
    def latents(self, request: ImageRequest) -> torch.Tensor: ...


@dataclass(frozen=True)
class Feature:
    """What is shown, and by which images."""

    name: str
    reference: Latents
    requests: Sequence[ImageRequest]


@dataclass(frozen=True)
class Model:
    """One model's features, and what an engine needs to make them."""

    title: str
    specs: Sequence[PipelineSpec]  # the first one is asked for images
    features: Sequence[Feature]
    adapters: Mapping[str, AdapterFile] = field(default_factory=dict)


def measure(model: Model) -> tuple[list[Row], list[Beyond]]:
    """One row a feature, and the images beyond the bound."""
    name, *_ = (spec.name for spec in model.specs)
    wanted = [(feature, request) for feature in model.features for request in feature.requests]
    requests_ = [request for _, request in wanted]
    expected = [feature.reference.latents(request) for feature, request in wanted]
    specs = {spec.name: spec for spec in model.specs}
    with Engine(specs, device="cpu", dtype="float32", keep_latents=True, adapters=model.adapters) as engine:
        for spec in model.specs:
            engine.load(spec.name)
        alone = _differences(run_alone(engine, name, requests_), expected)
        doomed = [replace(request, seed=request.seed + 10_000) for request in requests_[::3]]
        crowd = _differences(run_crowd(engine, name, requests_, doomed=doomed), expected)
    rows, start = [], 0
    for feature in model.features:
        part = slice(start, start + len(feature.requests))
        rows.append(Row(feature.name, len(feature.requests), max(alone[part]), max(crowd[part])))
        start = part.stop
    offs = map(max, zip(alone, crowd, strict=True))
    beyond = [
        Beyond(f"{model.title}, {feature.name}", off, feature.reference.own_rounding(request, latents))
        for (feature, request), off, latents in zip(wanted, offs, expected, strict=True)
        if off > BOUND and isinstance(feature.reference, Reference)
    ]
    return rows, beyond


def _differences(ours: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> list[float]:
    return [difference(*pair) for pair in zip(ours, expected, strict=True)]


def plain_request(size: int, **changes: Any) -> ImageRequest:
    """Guided, in ten steps."""
    scheduler = changes.pop("scheduler", "dpmpp_2m")
    return replace(requests(scheduler, [(5.0, 10)], size=size)[0], **changes)


def sampler_features(reference: Latents, size: int) -> list[Feature]:
    """One for each sampler with all its spacings, and one for each option of guidance."""
    joined: dict[str, list[ImageRequest]] = {}
    for name, wanted in small_matrix(size).items():
        info = SCHEDULERS.get(name)
        title = name if info is None else TITLES[info.base] + (", every spacing" if info.spaced else "")
        joined.setdefault(title, []).extend(wanted)
    return [Feature(name, reference, wanted) for name, wanted in joined.items()]


def safe_features(reference: Latents, size: int) -> list[Feature]:
    ask = partial(plain_request, size, prompt="a yellow star above a green square")
    strongest = SafeGuidance.of("max", CONCEPT)
    return [
        Feature(
            "safe guidance, every level",
            reference,
            [ask(safe_guidance=SafeGuidance.of(level, CONCEPT, num_inference_steps=10)) for level in LEVELS],
        ),
        Feature(
            "safe guidance, samplers",
            reference,
            [ask(scheduler=name, safe_guidance=strongest) for name in ("ddim", "euler", "euler_a", "heun", "unipc")],
        ),
    ]


def image_features(reference: Latents, size: int, *, from_image: bool = True) -> list[Feature]:
    picture = np.random.default_rng(3).integers(0, 256, (size, size, 3), dtype=np.uint8)
    wide = np.random.default_rng(4).integers(0, 256, (size // 2, size + 20, 3), dtype=np.uint8)
    box = np.zeros((size, size), dtype=np.uint8)
    box[size // 4 : size // 2, size // 3 : size // 2 + 8] = 255

    def ask(**changes: Any) -> ImageRequest:
        return plain_request(size, **{"init_image": picture, "strength": 0.6, **changes})

    def paint(**changes: Any) -> ImageRequest:
        return ask(**{"mask_image": half_mask(size, size), **changes})

    image_to_image = [
        Feature("image to image", reference, [ask(scheduler=name) for name in SOME_SAMPLERS]),
        Feature("image to image, strength 0.2 to 1", reference, [ask(strength=share) for share in (0.2, 0.5, 1.0)]),
        Feature("image to image, resized", reference, [ask(init_image=wide, height=size // 2)]),
    ]
    return [
        *(image_to_image if from_image else ()),
        Feature("inpainting", reference, [paint(scheduler=name) for name in SOME_SAMPLERS]),
        Feature("inpainting, strength 0.2 to 1", reference, [paint(strength=share) for share in (0.2, 0.5, 1.0)]),
        Feature("inpainting, mask blurred", reference, [paint(mask_image=box, mask_blur=8)]),
        Feature("inpainting, mask with padding", reference, [paint(mask_image=box, mask_padding=8)]),
    ]


def text_features(reference: Latents, with_word: Latents, size: int) -> list[Feature]:
    """`with_word` knows WORD, as an embedding has added it to the model's vocabulary."""
    shown = {
        "prompt weights": ["a (red:1.4) circle on [blue]", "((pastel)) mountains, (dark:0.5)", "a (yellow:0) star"],
        "prompts of several chunks": ["a red circle on a blue background, " * 12, "a (red:1.3) circle, " * 30],
        "textual inversion": [f"a red circle on {WORD}", f"({WORD}:1.3) on a [{WORD}] background"],
    }
    ask = partial(
        plain_request, size, negative_prompt="blurry"
    )  # compel knows nothing of SDXL's zeros for an empty one
    return [
        Feature(
            name,
            with_word if any(WORD in prompt for prompt in prompts) else reference,
            [ask(prompt=prompt, seed=seed) for seed, prompt in enumerate(prompts)],
        )
        for name, prompts in shown.items()
    ]


def word_file(folder: Path, widths: Sequence[int]) -> EmbeddingFile:
    """Three random vectors for each text encoder."""
    names = ("emb_params",) if len(widths) == 1 else ("clip_l", "clip_g")
    tensors = {
        name: random_vectors(3, seed=seed, width=width)
        for seed, (name, width) in enumerate(zip(names, widths, strict=True))
    }
    folder.mkdir()
    return listed(save_embedding(folder / f"{WORD}.safetensors", tensors), WORD)


def lora_files(pipeline: Any, folder: Path, *, model: str) -> dict[str, AdapterFile]:
    """Random ones: attention alone, every layer, with text encoder, and kohya's names with alpha."""
    unet, text = {"unet": pipeline.unet}, {"text_encoder": pipeline.text_encoder}
    encoder = random_lora(text, layers=("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"), seed=4, size=0.1)
    tensors = {
        "attention": in_peft_names(random_lora(unet, layers=ATTENTION, seed=1)),
        "whole": in_peft_names(random_lora(unet, layers=("",), seed=2, rank=2, size=0.1)),
        "kohya": in_kohya_names(random_lora(unet, layers=(*ATTENTION, "conv1"), seed=3, rank=8, size=0.1), alpha=3.0),
        "text": in_peft_names(random_lora(unet, layers=ATTENTION, seed=5) | encoder),
    }
    return {name: save_lora(folder / f"{name}.safetensors", each, model=model) for name, each in tensors.items()}


def lora_features(reference: Latents, size: int) -> list[Feature]:
    def ask(*uses: tuple[str, float], **changes: Any) -> ImageRequest:
        return plain_request(size, adapters=tuple(AdapterUse(name, scale) for name, scale in uses), **changes)

    return [
        Feature("LoRA, diffusers' names", reference, [ask(("attention", 1.0)), ask(("whole", 0.7), scheduler="euler")]),
        Feature("LoRA, kohya's names", reference, [ask(("kohya", 1.0)), ask(("kohya", -0.5), guidance_scale=1.0)]),
        Feature("LoRA, text encoder too", reference, [ask(("text", 1.0)), ask(("text", 0.4), seed=5)]),
        Feature(
            "LoRAs stacked",
            reference,
            [
                ask(("attention", 0.7), ("whole", 1.2)),
                ask(("attention", 0.5), ("whole", -0.4), ("kohya", 0.9), ("text", 0.3)),
            ],
        ),
    ]


def sdxl_features(reference: Latents, size: int) -> list[Feature]:
    refined = {"refiner": "refiner", "refiner_start": 0.7}
    return [
        Feature("SDXL base", reference, [plain_request(size, scheduler=name) for name in SOME_SAMPLERS]),
        Feature(
            "SDXL base, unguided and rescaled",
            reference,
            [plain_request(size, guidance_scale=1.0), plain_request(size, guidance_rescale=0.7)],
        ),
        Feature(
            "SDXL base and refiner",
            reference,
            [plain_request(size, scheduler=name, **refined) for name in ("euler", "dpmpp_2m", "heun")],
        ),
    ]


def models(folder: Path) -> list[Model]:
    size, tiny = 128, 64
    shipped = Reference(SHIPPED)
    loras = lora_files(shipped.pipeline, folder, model="darkroom-tiny")
    v, nine = (
        save_tiny_pipeline(folder / "v", prediction_type="v_prediction"),
        save_tiny_pipeline(folder / "nine", in_channels=9),
    )
    base, refiner = save_tiny_sdxl(folder / "sdxl"), save_tiny_refiner(folder / "refiner")
    word = word_file(folder / "word", [shipped.pipeline.text_encoder.config.hidden_size])
    word_xl = word_file(folder / "word-xl", [TEXT_WIDTH, TEXT_WIDTH])
    told = TextReference(SHIPPED, embeddings={WORD: Path(word.path)})
    told_xl = TextReference(base, family="sdxl", embeddings={WORD: Path(word_xl.path)})
    return [
        Model(
            SHIPPED.name,
            [PipelineSpec("darkroom-tiny", str(SHIPPED), embeddings=(word,))],
            [
                *sampler_features(shipped, size),
                *safe_features(SafeReference(SHIPPED), size),
                *text_features(TextReference(SHIPPED), told, size),
                *image_features(ImageReference(SHIPPED), size),
                *lora_features(LoraReference(SHIPPED, loras), size),
            ],
            loras,
        ),
        Model(
            "random SD 2.x (v-prediction)",
            [PipelineSpec("v", str(v))],
            [
                Feature(
                    "samplers",
                    Reference(v),
                    [plain_request(tiny, scheduler=name) for name in REFERENCE if name not in CONSISTENCY],
                )
            ],
        ),
        Model(
            "random SD 1.x (9-channel UNet)",
            [PipelineSpec("nine", str(nine))],
            image_features(ImageReference(nine), tiny, from_image=False),
        ),
        Model(
            "random SDXL",
            [
                PipelineSpec("base", str(base), family="sdxl", embeddings=(word_xl,)),
                PipelineSpec("refiner", str(refiner), family="sdxl"),
            ],
            [
                *sdxl_features(SdxlReference(base, refiner), tiny),
                *text_features(TextReference(base, family="sdxl"), told_xl, tiny),
            ],
        ),
    ]


def table(folder: Path) -> list[tuple[str, str, int]]:
    """The rows that there must be: model, feature, images."""
    shown = [
        (model.title, feature.name, len(feature.requests)) for model in models(folder) for feature in model.features
    ]
    single = len(GUIDANCE) * len(STEP_BY_STEP)
    return [*shown, *((SHIPPED.name, f"{name}, step by step", single) for name in CONSISTENCY)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixes", type=int, default=32, help="random mixes")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "exactness.md")
    options = parser.parse_args()

    diffusers.utils.logging.set_verbosity_error()  # it lists the config keys that a scheduler class has no use for
    random.seed(0)
    rows: list[tuple[str, Row]] = []
    beyond: list[Beyond] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models(Path(folder)):
            shown, further = measure(model)
            rows.extend((model.title, row) for row in shown)
            beyond.extend(further)
            print(model.title, *shown, *further, sep="\n", flush=True)
    shipped = Reference(SHIPPED)
    rows += [(SHIPPED.name, consistency_row(name, shipped, 128, STEP_BY_STEP)) for name in CONSISTENCY]
    spec = PipelineSpec("darkroom-tiny", str(SHIPPED))
    with Engine({spec.name: spec}, device="cpu", dtype="float32", keep_latents=True) as engine:
        engine.load(spec.name)
        mixes = random_mix(engine, spec.name, shipped, random_requests(options.mixes, size=128, seed=2026))
    options.out.write_text(_page(rows, beyond, mixes), encoding="utf-8")


def _page(rows: Sequence[tuple[str, Row]], beyond: Sequence[Beyond], mixes: Sequence[tuple[float, float]]) -> str:
    return PAGE.format(
        bound=BOUND,
        crowd=CROWD,
        rows="\n".join(
            f"| {model} | {row.what} | {row.images} | {row.alone:.1e} | {row.crowd:.1e} |" for model, row in rows
        ),
        beyond="\n".join(f"- {image}" for image in beyond) or "- None.",
        worst=max(max(row.alone, row.crowd) for _, row in rows),
        images=sum(row.images for _, row in rows),
        mixes=len(mixes),
        mixes_worst=max(off for off, _ in mixes),
        above=sum(off > BOUND for off, _ in mixes),
        mixes_beyond=sum(off > bound for off, bound in mixes),
        torch=torch.__version__,
        diffusers=diffusers.__version__,
        machine=platform.machine(),
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
