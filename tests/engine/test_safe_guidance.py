"""Safe latent guidance: diffusers' StableDiffusionPipelineSafe alone and among strangers, and what it costs in rows."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipelineSafe
from diffusers.pipelines.deprecated.stable_diffusion_safe import SafetyConfig

from bench.parity import BOUND, Reference, difference, run_crowd
from bench.safe_parity import SafeReference
from darkroom.errors import InvalidParams
from engine import Engine, ImageRequest, PipelineSpec, SafeGuidance
from engine.safe_guidance import LEVELS, PUBLISHED_STEPS, Level, SafetyTerm
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request
from tests.engine.tiny import save_tiny_pipeline
from tests.engine.tiny_sdxl import save_tiny_refiner, save_tiny_sdxl

CONCEPT = "a yellow star"
STEPS = 18  # beyond every level's warm-up


def make_safe(level: Level = "max", **changes: Any) -> ImageRequest:
    """A safe-guided image, with the published numbers."""
    values = {"num_inference_steps": STEPS, "safe_guidance": SafeGuidance.of(level, CONCEPT), **changes}
    return make_request(**values)


@pytest.fixture(scope="module")
def reference(tiny: Path) -> SafeReference:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SafeReference(tiny)


def made(engine: Engine, requests: list[ImageRequest], model: str = "tiny") -> list[torch.Tensor]:
    """Each request's latents, all in one batch."""
    handles = [engine.submit(model, request) for request in requests]
    engine.start()
    latents = [handle.future.result(timeout=60).latents for handle in handles]
    assert all(each is not None for each in latents)
    return [each for each in latents if each is not None]


@pytest.mark.parametrize("level", LEVELS)
def test_the_levels_are_the_published_ones(level: Level) -> None:
    published = getattr(SafetyConfig, level.upper())

    ours = SafeGuidance.of(level, CONCEPT)

    assert published == {
        "sld_warmup_steps": ours.warmup_steps,
        "sld_guidance_scale": ours.scale,
        "sld_threshold": ours.threshold,
        "sld_momentum_scale": ours.momentum_scale,
        "sld_mom_beta": ours.momentum_beta,
    }


@pytest.mark.parametrize(("steps", "warmup"), [(100, 10), (PUBLISHED_STEPS, 10), (25, 5), (10, 2), (4, 0)])
def test_a_shorter_run_has_as_much_shorter_a_warm_up(steps: int, warmup: int) -> None:
    assert SafeGuidance.of("medium", CONCEPT, num_inference_steps=steps).warmup_steps == warmup


@pytest.mark.parametrize("level", LEVELS)
def test_the_term_is_the_published_formula_call_by_call(level: Level) -> None:
    chosen = SafeGuidance.of(level, CONCEPT)
    term, momentum = SafetyTerm(chosen), None
    generator = torch.Generator().manual_seed(5)

    for call in range(STEPS):
        negative, positive, own = torch.randn(3, 1, 4, 8, 8, generator=generator) * 0.05
        expected, momentum = StableDiffusionPipelineSafe.perform_safety_guidance(
            None, True, momentum, positive - negative, [positive, negative, own], call, chosen.scale,
            chosen.warmup_steps, chosen.threshold, chosen.momentum_scale, chosen.momentum_beta,
        )  # fmt: skip
        ours = term.adjust(positive - negative, negative=negative, positive=positive, own=own)
        assert torch.equal(ours, expected)
        assert torch.equal(ours, positive - negative) is (call < chosen.warmup_steps)


LATE = replace(SafeGuidance.of("max", CONCEPT), warmup_steps=10, momentum_scale=0.9, momentum_beta=0.9)
CASES: dict[str, ImageRequest] = {
    "max": make_safe(),
    "after a warm-up": make_safe(safe_guidance=LATE),
    **{scheduler: make_safe(scheduler=scheduler) for scheduler in ("ddim", "euler", "pndm", "euler_a", "unipc")},
    "negative prompt": make_safe(negative_prompt="a blue square"),
    "scale": make_safe(guidance_scale=12.0),
    "wide": make_safe(width=96, height=64),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_a_safe_guided_image_equals_the_pipelines(
    case: str, tiny: Path, reference: SafeReference, make_engine: MakeEngine
) -> None:
    request = CASES[case]

    (ours,) = made(make_engine(), [request])

    assert difference(ours, reference.latents(request)) < BOUND
    assert difference(ours, Reference(tiny).latents(replace(request, safe_guidance=None))) > 10 * BOUND


@pytest.mark.filterwarnings("ignore")
def test_in_a_mixed_crowd_each_image_equals_its_own_pipelines(
    tiny: Path, reference: SafeReference, make_engine: MakeEngine
) -> None:
    plain = Reference(tiny)
    safe = [make_safe(level, seed=seed) for seed, level in enumerate(LEVELS)]
    others = [make_request(seed=seed, guidance_scale=scale) for seed, scale in ((10, 1.0), (11, 5.0), (12, 7.5))]
    engine = make_engine()
    engine.start()

    ours = run_crowd(
        engine, "tiny", wanted := [one for pair in zip(safe, [*others, safe[0]], strict=True) for one in pair]
    )

    for latents, request in zip(ours, wanted, strict=True):
        expected = (plain if request.safe_guidance is None else reference).latents(request)
        assert difference(latents, expected) < BOUND


@pytest.mark.filterwarnings("ignore")
def test_v_prediction_equals_the_pipeline_too(tiny_v: Path, make_engine: MakeEngine) -> None:
    request = make_safe(scheduler="ddim")

    (ours,) = made(make_engine(tiny_v), [request])

    assert difference(ours, SafeReference(tiny_v).latents(request)) < BOUND


def test_each_sample_has_a_momentum_of_its_own(make_engine: MakeEngine) -> None:
    request = make_safe("strong")

    alone = made(make_engine(), [request])
    together = made(make_engine(), [request, make_safe("strong", seed=2), request])

    assert difference(together[0], alone[0]) < BOUND
    assert difference(together[2], alone[0]) < BOUND


def test_a_safe_guided_sample_takes_three_rows(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)

    made(engine, [make_safe(num_inference_steps=3), make_request(num_inference_steps=3)])

    assert notes.steps == [(5, 2)] * 3


def test_a_waiting_safe_guided_sample_is_counted_with_three_rows(make_engine: MakeEngine) -> None:
    engine = make_engine(max_rows=8)

    engine.submit("tiny", make_safe())

    assert engine.capacity() == 5


def test_one_that_is_more_than_the_cap_runs_by_itself(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes, max_rows=2)

    made(engine, [make_safe(num_inference_steps=2), make_request(num_inference_steps=2)])

    assert sorted(notes.steps) == [(2, 1)] * 2 + [(3, 1)] * 2


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_an_image_without_guidance_of_its_own_is_kept_away_too(scale: float, make_engine: MakeEngine) -> None:
    unguided = make_request(guidance_scale=scale, num_inference_steps=STEPS)
    warming_up = replace(SafeGuidance.of("max", CONCEPT), warmup_steps=STEPS)

    plain, still, away = made(
        make_engine(), [unguided, replace(unguided, safe_guidance=warming_up), make_safe(guidance_scale=scale)]
    )

    assert difference(still, plain) < BOUND
    assert difference(away, plain) > 100 * BOUND


def test_guidance_that_stops_leaves_the_safe_guidance_on(make_engine: MakeEngine) -> None:
    notes = Notes()
    stopping = make_request(num_inference_steps=STEPS, guidance_stop=0.5)

    plain, away = made(make_engine(observer=notes), [stopping, replace(stopping, safe_guidance=LATE)])

    assert notes.steps[-1] == (4, 2)
    assert difference(away, plain) > 3 * BOUND, "all of its change comes after the stop"


def test_a_distilled_unet_is_safe_guided_at_its_own_scale(tmp_path: Path, make_engine: MakeEngine) -> None:
    folder = save_tiny_pipeline(tmp_path, time_cond_proj_dim=32)
    request = make_request(scheduler="lcm", guidance_scale=8.0)
    warming_up = replace(SafeGuidance.of("max", CONCEPT), warmup_steps=9)

    plain, still, away = made(
        make_engine(folder),
        [request, replace(request, safe_guidance=warming_up), make_safe(scheduler="lcm", num_inference_steps=4)],
    )

    assert difference(still, plain) < BOUND
    assert difference(away, plain) > 100 * BOUND


def test_a_refiner_goes_on_with_the_same_momentum(tmp_path: Path) -> None:
    folders = {"base": save_tiny_sdxl(tmp_path / "base"), "refiner": save_tiny_refiner(tmp_path / "refiner")}
    specs = {name: PipelineSpec(name, str(folder), family="sdxl") for name, folder in folders.items()}
    refined = make_safe("strong", refiner="refiner", num_inference_steps=10)
    engine = Engine(specs, device="cpu", dtype="float32", keep_latents=True)
    calls: list[int] = []

    def count(term: SafetyTerm) -> None:
        calls.append(term._calls)

    try:
        engine.preload(list(specs))
        handle = engine.submit("base", refined, on_step=lambda *_: count(_term(handle)))
        engine.start()
        handle.future.result(timeout=60)
    finally:
        engine.stop()

    assert calls == list(range(1, 11))


def _term(handle: Any) -> SafetyTerm:
    term = handle._sample.tensors.term
    assert isinstance(term, SafetyTerm)
    return term


def test_sdxl_goes_by_the_formula(tmp_path: Path) -> None:
    folder = save_tiny_sdxl(tmp_path)
    request = make_safe("strong", scheduler="ddim")
    engine = Engine({"base": PipelineSpec("base", str(folder), family="sdxl")}, device="cpu", keep_latents=True)
    try:
        engine.load("base")
        pipeline: Any = engine._family("base").pipeline
        expected = _sdxl_by_hand(pipeline, request)
        ours, _ = made(engine, [request, make_request(seed=9)], model="base")
    finally:
        engine.stop()

    assert difference(ours, expected) < BOUND


@torch.inference_mode()
def _sdxl_by_hand(pipeline: Any, request: ImageRequest) -> torch.Tensor:
    """The published loop, with diffusers' own code for the formula, over SDXL's UNet."""
    safe = request.safe_guidance
    assert safe is not None
    words, negative, pooled, negative_pooled = pipeline.encode_prompt(request.prompt, device="cpu")
    concept, _, pooled_concept, _ = pipeline.encode_prompt(
        safe.concept, device="cpu", do_classifier_free_guidance=False
    )
    ids = torch.tensor([[request.height, request.width, 0, 0, request.height, request.width]] * 3)
    added = {"text_embeds": torch.cat([negative_pooled, pooled, pooled_concept]), "time_ids": ids}
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(request.num_inference_steps)
    side = request.width // pipeline.vae_scale_factor
    latents = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(request.seed))
    momentum = None
    for call, timestep in enumerate(scheduler.timesteps):
        rows = pipeline.unet(
            torch.cat([latents] * 3), timestep, torch.cat([negative, words, concept]), added_cond_kwargs=added
        ).sample
        unconditional, text, own = rows.chunk(3)
        direction, momentum = StableDiffusionPipelineSafe.perform_safety_guidance(
            None, True, momentum, text - unconditional, [text, unconditional, own], call, safe.scale, safe.warmup_steps,
            safe.threshold, safe.momentum_scale, safe.momentum_beta,
        )  # fmt: skip
        guided = unconditional + request.guidance_scale * direction
        latents = scheduler.step(guided, timestep, latents).prev_sample
    return latents


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scale": 1.0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"momentum_scale": 1.5}, "momentum_scale"),
        ({"momentum_beta": -0.1}, "momentum_beta"),
    ],
)
def test_numbers_without_a_meaning_are_refused(changes: dict[str, Any], field: str, make_engine: MakeEngine) -> None:
    request = make_safe(safe_guidance=replace(SafeGuidance.of("weak", CONCEPT), **changes))

    with pytest.raises(InvalidParams) as caught:
        make_engine().submit("tiny", request)

    assert [problem.field for problem in caught.value.problems] == [f"safe_guidance.{field}"]
