"""Images with LoRAs equal diffusers' own: alone, stacked, and with other sets for every sample of one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.utils import convert_state_dict_to_kohya

from bench.parity import BOUND, difference, run_crowd
from darkroom.errors import AdapterInvalid, AdapterMismatch, GenerationFailed, InvalidParams, UnknownAdapter
from engine import AdapterFile, AdapterUse, Engine, EngineHandle, ImageRequest, PipelineSpec
from tests.engine.factories import make_request, outcome
from tests.engine.lora.files import in_kohya_names, in_peft_names, listed, random_lora, save_lora
from tests.engine.lora.reference import LoraReference

SHIPPED = Path(__file__).parents[2] / "models" / "darkroom-tiny"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
EVERY_LAYER = ("",)
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")

MakeEngine = Callable[..., Engine]


def write_adapters(pipeline: Any, folder: Path, *, model: str) -> dict[str, AdapterFile]:
    """Random LoRAs in every format, on every kind of layer."""
    unet, text = {"unet": pipeline.unet}, {"text_encoder": pipeline.text_encoder}

    def save(name: str, tensors: dict[str, torch.Tensor], **options: Any) -> AdapterFile:
        return save_lora(folder / f"{name}.safetensors", tensors, model=model, **options)

    attention = random_lora(unet, layers=ATTENTION, seed=1)
    whole = random_lora(unet, layers=EVERY_LAYER, seed=2, rank=2, size=0.1)
    kohya = random_lora(unet, layers=(*ATTENTION, "proj_in", "net.0.proj", "net.2", "conv1"), seed=3, rank=8, size=0.1)
    encoder = random_lora(text, layers=TEXT_LAYERS, seed=4, size=0.1)
    both = random_lora(unet, layers=ATTENTION, seed=5) | random_lora(text, layers=TEXT_LAYERS, seed=6, size=0.1)
    return {
        "attention": save("attention", in_peft_names(attention)),
        "whole": save("whole", in_peft_names(whole)),
        "kohya": save("kohya", in_kohya_names(kohya, alpha=3.0)),
        "text": save("text", in_peft_names(encoder)),
        "both": save("both", in_kohya_names(both, alpha=2.0)),
        "exported": save("exported", convert_state_dict_to_kohya(in_peft_names(both))),
    }


def take(engine: Engine, request: ImageRequest, **options: Any) -> torch.Tensor:
    image = engine.submit("tiny", request, **options).future.result(timeout=60)
    assert image.latents is not None
    return image.latents


@pytest.fixture(scope="module")
def files(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, AdapterFile]:
    return write_adapters(LoraReference(tiny, {}).pipeline, tmp_path_factory.mktemp("loras"), model="tiny")


@pytest.fixture(scope="module")
def reference(tiny: Path, files: dict[str, AdapterFile]) -> LoraReference:
    return LoraReference(tiny, files)


@pytest.fixture
def make(tiny: Path, files: dict[str, AdapterFile]) -> Iterator[MakeEngine]:
    made: list[Engine] = []

    def make_engine(**options: Any) -> Engine:
        specs = {"tiny": PipelineSpec("tiny", str(tiny))}
        engine = Engine(specs, device="cpu", keep_latents=True, **{"adapters": files, **options})
        made.append(engine)
        engine.load("tiny")
        return engine

    yield make_engine
    for engine in made:
        engine.stop()


def using(*uses: tuple[str, float], **changes: Any) -> ImageRequest:
    return make_request(adapters=tuple(AdapterUse(name, scale) for name, scale in uses), **changes)


MIXES = {
    "diffusers, attention": using(("attention", 1.0)),
    "diffusers, every Linear and Conv2d": using(("whole", 1.0)),
    "kohya, with alpha": using(("kohya", 0.8)),
    "text encoder alone": using(("text", 1.0)),
    "UNet and text encoder": using(("both", 0.6)),
    "kohya as diffusers exports it": using(("exported", 1.0)),
    "negative scale": using(("attention", -1.5)),
    "scale zero": using(("both", 0.0)),
    "two stacked": using(("attention", 0.7), ("whole", 1.2)),
    "four stacked": using(("attention", 0.5), ("whole", -0.4), ("kohya", 0.9), ("both", 0.3)),
    "unguided": using(("kohya", 1.0), guidance_scale=1.0),
    "another sampler": using(("both", 1.0), scheduler="euler_a", num_inference_steps=6),
}


@pytest.mark.parametrize("request_", MIXES.values(), ids=MIXES)
def test_an_image_equals_diffusers_with_the_same_adapters(
    request_: ImageRequest, make: MakeEngine, reference: LoraReference
) -> None:
    engine = make()
    engine.start()

    ours = take(engine, request_)

    assert difference(ours, reference.latents(request_)) < BOUND


def test_adapters_change_the_image(make: MakeEngine) -> None:
    """Else every comparison above would compare the base image with itself."""
    engine = make()
    engine.start()
    base = take(engine, using())

    assert all(difference(take(engine, using((name, 1.0))), base) > 1e-2 for name in ("attention", "whole", "both"))
    assert difference(take(engine, using(("text", 1.0))), base) > 1e-3


def test_every_sample_of_one_batch_has_its_own_set(make: MakeEngine, reference: LoraReference) -> None:
    engine = make(max_rows=32)
    wanted = [request for request in MIXES.values() if request.scheduler == "dpmpp_2m"] + [using(seed=7)]
    handles = [engine.submit("tiny", request) for request in wanted]
    engine.start()

    images = [handle.future.result(timeout=60) for handle in handles]

    assert min(image.rows_mean for image in images) > 8, "they shared their forwards"
    for image, request in zip(images, wanted, strict=True):
        assert difference(image.latents, reference.latents(request)) < BOUND


def test_neighbours_that_arrive_leave_and_fail_change_nothing(make: MakeEngine, reference: LoraReference) -> None:
    engine = make(max_rows=32)
    wanted = [
        using(("attention", 1.0), num_inference_steps=12),
        using(("kohya", 0.7), ("both", 0.5), num_inference_steps=10, seed=2),
        using(num_inference_steps=11, seed=3),
    ]
    neighbours: list[EngineHandle] = []

    def come_and_go(done: int, _total: int) -> None:
        neighbours.append(engine.submit("tiny", using(("both", 1.0), seed=done), on_step=fail_at_three))
        if done in {2, 5}:
            neighbours[done - 2].cancel()

    def fail_at_three(done: int, _total: int) -> None:
        if done == 3:
            raise ValueError("boom")

    handles = [engine.submit("tiny", request, on_step=come_and_go) for request in wanted[:1]]
    handles += [engine.submit("tiny", request) for request in wanted[1:]]
    engine.start()

    for handle, request in zip(handles, wanted, strict=True):
        assert difference(handle.future.result(timeout=60).latents, reference.latents(request)) < BOUND
    assert any(isinstance(outcome(neighbour), GenerationFailed) for neighbour in neighbours)


def test_after_ejecting_images_and_weights_are_bit_equal_to_before(make: MakeEngine) -> None:
    engine = make(adapter_slots=1)
    networks = engine._family("tiny").networks
    weights = {part: {n: t.clone() for n, t in net.state_dict().items()} for part, net in networks.items()}
    engine.start()
    before = take(engine, using())
    take(engine, using(("both", 1.0)))
    assert torch.equal(take(engine, using(seed=1)), before), "a resident adapter that nobody uses costs no bit"
    take(engine, using(("attention", 1.0)))

    assert engine.stats().adapters == ("attention",)
    slots = engine._adapters._slots[engine._family("tiny")]
    engine.stop()
    slots.eject("attention")

    for part, network in networks.items():
        after = network.state_dict()
        assert list(after) == list(weights[part])
        assert all(torch.equal(after[name], tensor) for name, tensor in weights[part].items())
        assert not any(module._forward_hooks for module in network.modules())


def test_embeddings_are_kept_by_the_adapters_that_change_them(make: MakeEngine) -> None:
    engine = make()
    engine.start()
    for request in (using(), using(("attention", 1.0)), using(("attention", 0.5)), using(("attention", 0.5), seed=9)):
        take(engine, request)
    assert engine.stats().embedding_misses == 2, "prompt and negative prompt: this adapter is the UNet's alone"

    for scale in (1.0, 0.5, 0.5):
        take(engine, using(("attention", 1.0), ("text", scale)))

    assert engine.stats().embedding_misses == 2 + 2 * 2


def test_more_adapters_than_slots_take_turns(make: MakeEngine, reference: LoraReference) -> None:
    engine = make(adapter_slots=2)
    engine.start()
    names = ("attention", "whole", "kohya", "text", "both")
    wanted = [using((name, 1.0), seed=seed) for seed in range(3) for name in names]

    ours = run_crowd(engine, "tiny", wanted)

    assert len(engine.stats().adapters) == 2
    for latents, request in zip(ours, wanted, strict=True):
        assert difference(latents, reference.latents(request)) < BOUND


def test_a_load_runs_beside_the_others_steps(make: MakeEngine) -> None:
    engine = make()
    slots = engine._adapters._of("tiny", engine._family("tiny"))
    stepped, waited = threading.Event(), []

    def look(done: int, _total: int) -> None:
        if done == 50:
            waited.append(engine.stats().waiting)
            stepped.set()

    engine.start()
    with slots._turn:  # as if the file were slow
        running = engine.submit("tiny", using(num_inference_steps=60), on_step=look)
        late = engine.submit("tiny", using(("whole", 1.0)))
        assert stepped.wait(60)

    assert waited == [1]
    assert outcome(running).steps == 60
    assert outcome(late).steps == 4


def test_a_sample_that_gives_up_while_its_adapter_loads_holds_nothing(make: MakeEngine) -> None:
    engine = make(adapter_slots=1)
    slots = engine._adapters._of("tiny", engine._family("tiny"))
    engine.start()
    with slots._turn:
        waiting = engine.submit("tiny", using(("whole", 1.0)))
        other = engine.submit("tiny", using())
        outcome(other)
        waiting.cancel()
        assert outcome(waiting).code == "cancelled"

    assert outcome(engine.submit("tiny", using(("attention", 1.0)))).steps == 4
    assert not slots._held
    assert not slots._queue


def test_what_cannot_be_is_refused_at_the_door(make: MakeEngine, files: dict[str, AdapterFile]) -> None:
    others = AdapterFile("others", "huge", files["text"].path, files["text"].sha256)
    engine = make(adapters={**files, "others": others}, adapter_slots=2)

    with pytest.raises(UnknownAdapter, match="there is no adapter sepia"):
        engine.submit("tiny", using(("sepia", 1.0)))
    with pytest.raises(AdapterMismatch, match="adapter others was made for model huge, not for tiny"):
        engine.submit("tiny", using(("others", 1.0)))
    with pytest.raises(InvalidParams, match="the scale of text must be a number"):
        engine.submit("tiny", using(("text", float("nan"))))
    with pytest.raises(InvalidParams, match="at most 2 adapters"):
        engine.submit("tiny", using(("text", 1.0), ("both", 1.0), ("whole", 1.0)))


def test_a_file_that_does_not_fit_fails_its_own_samples_only(
    make: MakeEngine, files: dict[str, AdapterFile], tmp_path: Path
) -> None:
    wide = torch.nn.ModuleDict({"conv_in": torch.nn.Conv2d(4, 999, 3)})
    misfit = save_lora(tmp_path / "misfit.safetensors", in_peft_names(random_lora({"unet": wide}, layers=[""], seed=1)))
    (tmp_path / "broken.safetensors").write_bytes(b"not weights at all")
    broken = listed(tmp_path / "broken.safetensors")
    engine = make(adapters={**files, "misfit": misfit, "broken": broken})
    handles = [engine.submit("tiny", using((name, 1.0))) for name in ("misfit", "broken", "attention")]
    engine.start()

    first, second, third = (outcome(handle) for handle in handles)

    assert isinstance(first, AdapterMismatch)
    assert "unet.conv_in takes" in str(first)
    assert isinstance(second, AdapterInvalid)
    assert "adapter broken: its file is not valid" in str(second)
    assert third.steps == 4
    assert engine.stats().adapters == ("attention",)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_adapters_on_the_shipped_model_equal_diffusers(tmp_path: Path) -> None:
    files = write_adapters(LoraReference(SHIPPED, {}).pipeline, tmp_path, model="darkroom-tiny")
    reference = LoraReference(SHIPPED, files)
    spec = PipelineSpec("darkroom-tiny", str(SHIPPED))
    sized = {"width": 128, "height": 128, "num_inference_steps": 12}
    wanted = [
        using(*((use.name, use.scale) for use in request.adapters), seed=seed, **sized)
        for seed, request in enumerate(MIXES.values())
    ]

    with Engine({"darkroom-tiny": spec}, device="cpu", keep_latents=True, adapters=files) as engine:
        engine.load("darkroom-tiny")
        ours = run_crowd(engine, "darkroom-tiny", wanted)

    for latents, request in zip(ours, wanted, strict=True):
        assert difference(latents, reference.latents(request)) < BOUND


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hundreds_of_adapters_come_and_go(tiny: Path, tmp_path: Path) -> None:
    """As slots churn, neither slots nor hooks grow."""
    pipeline = LoraReference(tiny, {}).pipeline
    files = {}
    for seed in range(60):
        lora = random_lora({"unet": pipeline.unet}, layers=ATTENTION, seed=seed, rank=1 + seed % 8)
        files[f"lora-{seed}"] = save_lora(tmp_path / f"lora-{seed}.safetensors", in_peft_names(lora))
    specs = {"tiny": PipelineSpec("tiny", str(tiny))}

    with Engine(specs, device="cpu", adapters=files, adapter_slots=4, keep_latents=True) as engine:
        engine.load("tiny")
        wanted = [
            using((f"lora-{turn * 7 % 60}", 1.0), (f"lora-{turn * 11 % 60}", 0.5), num_inference_steps=1, seed=turn)
            for turn in range(400)
        ]
        ours = run_crowd(engine, "tiny", wanted)
        slots = engine._adapters._slots[engine._family("tiny")]

    assert len(ours) == 400
    assert len(slots.resident()) <= 4
    hooks = [module._forward_hooks for module in slots._targets.layers.values()]
    assert max(len(hook) for hook in hooks) == 1
    assert max(len(layer._deltas) for layer in slots._layers.values()) <= 4
    assert not slots._held
    assert not slots._queue
