"""How close the engine's latents come to StableDiffusionPipeline's, sampler by sampler.

Every scheduler x guidance x step count is made by diffusers' pipeline, by the engine alone, and by the engine in a
crowd of eight mixed samples that join while others run; the table holds the worst relative difference. The reference
side is written out here and shares nothing with the engine but the weights.

    python -m bench.parity models/darkroom-tiny        # writes bench/parity.md
"""

from __future__ import annotations

import argparse
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch

from bench.parity_page import Beyond, Measured, Row, page
from engine import Engine, EngineHandle, GeneratedImage, ImageRequest, PipelineSpec
from engine.batch import predict
from engine.families.sd import StableDiffusion
from engine.samples import Sample

BOUND = 1e-4  # relative, fp32
CROWD = 8  # samples in flight
STEPS = (8, 15, 25)
GUIDANCE = (1.0, 5.0, 7.5)
# Rounding alone moves a consistency sampler's result (1e-2 after 50 steps), so that it is held end to end only where
# that stays small, and one step at a time everywhere else.
CONSISTENCY_END_TO_END = tuple(itertools.product((1.0, 2.0), (4, 8)))
GUIDANCE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "guidance_rescale 0.7": {"guidance_rescale": 0.7},
    "guidance_stop 0.5": {"guidance_stop": 0.5},
    "guidance_rescale 0.3, guidance_stop 0.7": {"guidance_rescale": 0.3, "guidance_stop": 0.7},
}
PROMPTS = ("a red circle on a blue background", "a yellow star above a green square", "mountains at sunset, pastel")
NEGATIVES = ("", "blurry", "")

_SAMPLERS: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "ddim": (diffusers.DDIMScheduler, {"clip_sample": False}),
    "ddpm": (diffusers.DDPMScheduler, {"clip_sample": False}),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "pndm": (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    "lcm": (diffusers.LCMScheduler, {}),
    "tcd": (diffusers.TCDScheduler, {}),
}
_SPACED: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "lms": (diffusers.LMSDiscreteScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_sde": (diffusers.DPMSolverSinglestepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "deis": (diffusers.DEISMultistepScheduler, {}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
}
# What a caller of diffusers would write to get each scheduler; on purpose not read from the engine's own table.
REFERENCE: Mapping[str, Callable[[Any], Any]] = {
    **{name: partial(kind.from_config, **settings) for name, (kind, settings) in {**_SAMPLERS, **_SPACED}.items()},
    **{
        f"{name}_{spacing}": partial(kind.from_config, **settings, **{f"use_{spacing}_sigmas": True})
        for name, (kind, settings) in _SPACED.items()
        for spacing in ("karras", "exponential", "beta")
    },
}
ETA = {"tcd": 0.3}  # the pipeline's own default, 0, for all others
CONSISTENCY = ("lcm", "tcd")


class Reference:
    """diffusers' own pipeline on the same weights."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self._config = self.pipeline.scheduler.config

    def latents(self, request: ImageRequest) -> torch.Tensor:
        return self.trajectory(request)[-1]

    def trajectory(self, request: ImageRequest) -> list[torch.Tensor]:
        """The latents after each model call."""
        taken: list[torch.Tensor] = []
        self._call(request, [request.prompt], [request.seed], on_step=taken.append)
        return taken

    def in_batch(self, request: ImageRequest) -> torch.Tensor:
        """The same image as one of a batch of eight equal calls: what rounding alone does to the reference."""
        seeds = [request.seed, *range(1_000, 1_000 + CROWD - 1)]
        taken: list[torch.Tensor] = []
        self._call(request, [request.prompt] * CROWD, seeds, on_step=taken.append)
        return taken[-1][:1]

    def own_rounding(self, request: ImageRequest, latents: torch.Tensor) -> float:
        """How far its image moves in a batch of eight."""
        return difference(self.in_batch(request), latents)

    def _call(
        self, request: ImageRequest, prompts: list[str], seeds: list[int], *, on_step: Callable[[torch.Tensor], None]
    ) -> None:
        self.pipeline.scheduler = REFERENCE[request.scheduler](self._config)
        guided = guided_calls(request)

        def keep(pipeline: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(tensors["latents"].clone())
            if index + 1 == guided:  # as diffusers' own SDCFGCutoffCallback
                pipeline._guidance_scale = 0.0  # noqa: SLF001
                return {"prompt_embeds": tensors["prompt_embeds"][-len(prompts) :]}
            return {}

        self.pipeline(
            prompts,
            negative_prompt=[request.negative_prompt] * len(prompts),
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            guidance_rescale=request.guidance_rescale,
            eta=ETA.get(request.scheduler, 0.0),
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="latent",
            callback_on_step_end=keep,
            callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        )


def guided_calls(request: ImageRequest) -> int | None:
    """After how many model calls guidance is over, where it ends early."""
    if request.guidance_stop == 1 or request.guidance_scale <= 1:
        return None
    steps = -int(-request.guidance_stop * request.num_inference_steps // 1)
    if steps == request.num_inference_steps:
        return None
    if request.scheduler.startswith("heun"):
        return 2 * steps
    return steps + 1 if request.scheduler == "pndm" else steps


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """||ours - reference|| / ||reference||."""
    return float((ours - reference).norm() / reference.norm())


def requests(
    scheduler: str, settings: Iterable[tuple[float, int]], *, size: int, seed: int = 0, **options: Any
) -> list[ImageRequest]:
    """One request for each (guidance, steps), with prompts and seeds that differ."""
    return [
        ImageRequest(
            prompt=PROMPTS[index % len(PROMPTS)],
            negative_prompt=NEGATIVES[index % len(NEGATIVES)],
            width=size,
            height=size,
            num_inference_steps=steps,
            guidance_scale=guidance,
            scheduler=scheduler,
            seed=seed + index,
            **options,
        )
        for index, (guidance, steps) in enumerate(settings)
    ]


def random_requests(count: int, *, size: int, seed: int) -> list[ImageRequest]:
    """Requests with everything drawn at random."""
    draw = random.Random(seed)
    return [
        requests(
            draw.choice(list(REFERENCE)),
            [(draw.choice((1.0, 2.0, 5.0, 7.5, 12.0)), draw.randint(2, 30))],
            size=size,
            seed=draw.randrange(2**31),
            guidance_rescale=draw.choice((0.0, 0.0, 0.7)),
            guidance_stop=draw.choice((1.0, 1.0, 0.5)),
        )[0]
        for _ in range(count)
    ]


def run_alone(engine: Engine, model: str, wanted: Sequence[ImageRequest]) -> list[torch.Tensor]:
    """Each image by itself."""
    return [_latents(engine.submit(model, request).future.result()) for request in wanted]


def run_crowd(
    engine: Engine, model: str, wanted: Sequence[ImageRequest], *, doomed: Sequence[ImageRequest] = (), seed: int = 0
) -> list[torch.Tensor]:
    """The same images, up to eight in flight, in shuffled order: each step of one lets the next one in.

    Args:
        doomed: neighbours that end after a step of theirs, cancelled or failing by turns.
    """
    order = list(range(len(wanted) + len(doomed)))
    random.Random(seed).shuffle(order)
    crowd = _Crowd(engine, model, [*wanted, *doomed], deque(order), doomed=len(doomed))
    crowd.let_in()
    futures = crowd.all_futures()
    for index, future in enumerate(futures[len(wanted) :]):
        assert future.exception() is not None or doomed[index].num_inference_steps == 1, "it was to end early"
    return [_latents(future.result()) for future in futures[: len(wanted)]]


class _Crowd:
    """Lets images in from the device thread, so that who meets whom does not depend on the machine's load."""

    def __init__(
        self, engine: Engine, model: str, wanted: Sequence[ImageRequest], order: deque[int], *, doomed: int
    ) -> None:
        self._engine = engine
        self._model = model
        self._wanted = wanted
        self._order = order
        self._first_doomed = len(wanted) - doomed
        self._futures: dict[int, Future[GeneratedImage]] = {}
        self._in_flight = 0
        self._all_in = threading.Event()

    def let_in(self, *_progress: int) -> None:
        if self._order and self._in_flight < CROWD:
            self._in_flight += 1
            index = self._order.popleft()
            handle: list[EngineHandle] = []
            on_step = self.let_in if index < self._first_doomed else partial(self._spoil, index, handle)
            handle.append(self._engine.submit(self._model, self._wanted[index], on_step=on_step))
            self._futures[index] = handle[0].future
            handle[0].future.add_done_callback(self._left)
        if len(self._futures) == len(self._wanted):
            self._all_in.set()

    def _spoil(self, index: int, handle: list[EngineHandle], *_progress: int) -> None:
        if index % 2 and handle:  # the very first may take its step before its handle is there
            handle[0].cancel()
        else:
            raise ConnectionError("nobody listens")

    def _left(self, _future: Future[GeneratedImage]) -> None:
        self._in_flight -= 1
        self.let_in()

    def all_futures(self) -> list[Future[GeneratedImage]]:
        self._all_in.wait()
        return [self._futures[index] for index in range(len(self._wanted))]


def _latents(image: GeneratedImage) -> torch.Tensor:
    assert image.latents is not None, "the engine was told to keep latents"
    return image.latents


def step_by_step(reference: Reference, wanted: Sequence[ImageRequest]) -> list[float]:
    """For each request the worst difference of a single step, all requests sharing each forward.

    Every step starts from the reference's latents, so that rounding has no time to grow.
    """
    family = StableDiffusion(reference.pipeline, torch.device("cpu"))
    worst = [0.0] * len(wanted)
    with torch.inference_mode():
        trajectories = [reference.trajectory(request) for request in wanted]
        samples = [Sample("model", request) for request in wanted]
        for sample in samples:
            sample.denoising = family.prepare(sample.request, family.encode)
        while running := [sample for sample in samples if not sample.tensors.done]:
            for sample, prediction in predict(running, family.denoise, failed=_raise, too_large=print):
                index, tensors = samples.index(sample), sample.tensors
                tensors.advance(prediction)
                expected = trajectories[index][tensors.calls - 1]
                worst[index] = max(worst[index], difference(tensors.latents, expected))
                tensors.latents = expected
    return worst


def _raise(_sample: Sample, error: Exception) -> None:
    raise error


def measure(
    engine: Engine, model: str, reference: Reference, cases: Mapping[str, Sequence[ImageRequest]]
) -> tuple[list[Row], list[Beyond]]:
    """Make every image by the reference, alone, and in one crowd of all cases: a row a case, and what is beyond."""
    named = [(what, request) for what, requests_ in cases.items() for request in requests_]
    wanted = [request for _, request in named]
    expected = [reference.latents(request) for request in wanted]
    alone = [difference(*pair) for pair in zip(run_alone(engine, model, wanted), expected, strict=True)]
    crowd = [difference(*pair) for pair in zip(run_crowd(engine, model, wanted), expected, strict=True)]
    rows, start = [], 0
    for what, requests_ in cases.items():
        part = slice(start, start + len(requests_))
        rows.append(Row(what, len(requests_), max(alone[part]), max(crowd[part])))
        start = part.stop
    beyond = [
        Beyond(f"{what}, {request.num_inference_steps} steps", off, reference.own_rounding(request, latents))
        for (what, request), off, latents in zip(named, map(max, alone, crowd), expected, strict=True)
        if off > BOUND
    ]
    return rows, beyond


def matrix(size: int, steps: Sequence[int] = STEPS) -> dict[str, list[ImageRequest]]:
    """What is shown -> its requests; a consistency sampler's are the ones that are held end to end."""
    settings = list(itertools.product(GUIDANCE, steps))
    cases = {
        name: requests(name, CONSISTENCY_END_TO_END if name in CONSISTENCY else settings, size=size)
        for name in REFERENCE
    }
    return {**cases, **guidance_options(size, steps)}


def small_matrix(size: int) -> dict[str, list[ImageRequest]]:
    """Every row of the matrix in a few images: both sides of 15 steps, where DPM++ changes how it ends."""
    plain = {name: [(1.0, 4), (5.0, 16)] for name in (*_SAMPLERS, *_SPACED)}
    settings = plain | {name: [(1.0, 4), (2.0, 6)] for name in CONSISTENCY}
    cases = {name: requests(name, settings.get(name, [(5.0, 6)]), size=size) for name in REFERENCE}
    return {**cases, **guidance_options(size, [5])}


def guidance_options(size: int, steps: Sequence[int]) -> dict[str, list[ImageRequest]]:
    return {
        name: [
            request
            for scheduler in ("dpmpp_2m", "euler", "heun", "pndm")
            for request in requests(scheduler, [(5.0, steps_) for steps_ in steps], size=size, **options)
        ]
        for name, options in GUIDANCE_OPTIONS.items()
    }


def consistency_row(scheduler: str, reference: Reference, size: int, steps: Sequence[int] = STEPS) -> Row:
    """A consistency sampler at every guidance and step count, one step at a time."""
    wanted = requests(scheduler, itertools.product(GUIDANCE, steps), size=size)
    alone = [step_by_step(reference, [request])[0] for request in wanted]
    return Row(f"{scheduler}, step by step", len(wanted), max(alone), max(step_by_step(reference, wanted)))


def random_mix(
    engine: Engine, model: str, reference: Reference, wanted: Sequence[ImageRequest]
) -> list[tuple[float, float]]:
    """(difference, bound) of each image in a crowd: the bound gives way where rounding moves the reference itself."""
    ours = run_crowd(engine, model, wanted)
    found = []
    for latents, request in zip(ours, wanted, strict=True):
        expected = reference.latents(request)
        off = difference(latents, expected)
        bound = BOUND if off <= BOUND else max(BOUND, 10 * difference(reference.in_batch(request), expected))
        found.append((off, bound))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder in diffusers' format")
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="step counts of the matrix")
    parser.add_argument("--mixes", type=int, default=32, help="random mixes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()

    diffusers.utils.logging.set_verbosity_error()  # it lists the config keys that a scheduler class has no use for
    reference = Reference(options.model)
    spec = PipelineSpec("model", str(options.model))
    with Engine({"model": spec}, device="cpu", dtype="float32", keep_latents=True) as engine:
        engine.load("model")
        rows, beyond = measure(engine, "model", reference, matrix(options.size, options.steps))
        mixes = random_mix(engine, "model", reference, random_requests(options.mixes, size=options.size, seed=2026))
    stepwise = [consistency_row(name, reference, options.size, options.steps) for name in CONSISTENCY]
    measured = Measured(
        model=options.model.name,
        guidance=GUIDANCE,
        steps=options.steps,
        consistency=CONSISTENCY_END_TO_END,
        crowd=CROWD,
        bound=BOUND,
    )
    text = page(measured, rows=rows, stepwise=stepwise, beyond=beyond, mixes=mixes)
    options.out.write_text(text, encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
