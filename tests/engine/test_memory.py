"""Memory tiers: which one, what it does, and that images stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0, SlicedAttnProcessor

from bench.parity import BOUND, difference
from darkroom.catalogue import MemoryTier as CatalogueTier
from engine import Engine, PipelineSpec
from engine.memory import TIERS, Need, choose_tier, free_bytes, need_of, place, use_sdpa, uses_sdpa
from engine.offload import Offload
from engine.weights import bytes_in_memory, bytes_once_loaded, networks
from tests.engine.conftest import MakeEngine
from tests.engine.factories import make_request

CPU = torch.device("cpu")
GIB = 2**30
NEED = Need(weights=4 * GIB, largest=3 * GIB, activations=2 * GIB)


def test_the_catalogue_and_the_engine_know_the_same_tiers() -> None:
    assert set(get_args(CatalogueTier)) == {"auto", *TIERS}


@pytest.mark.parametrize(
    ("free", "tier"), [(None, "full"), (10 * GIB, "full"), (6 * GIB, "slicing"), (5 * GIB, "offload"), (0, "offload")]
)
def test_auto_takes_the_fastest_tier_that_fits(free: int | None, tier: str) -> None:
    assert choose_tier("auto", NEED, free=free) == tier


def test_a_named_tier_is_taken_whatever_is_free() -> None:
    assert choose_tier("full", NEED, free=0) == "full"
    with pytest.raises(ValueError, match="memory must be auto, full, slicing, offload"):
        choose_tier("tight", NEED, free=None)


def test_a_cpus_memory_is_the_hosts() -> None:
    assert free_bytes(CPU) is None


def test_what_a_pipeline_needs_is_its_weights_and_a_decode(make_engine: MakeEngine) -> None:
    pipeline: Any = make_engine()._family("tiny").pipeline

    need = need_of(pipeline)

    assert need.weights == bytes_in_memory(*networks(pipeline).values())
    assert need.largest == max(bytes_in_memory(part) for part in networks(pipeline).values())
    assert need.activations == 64 * 64 * 8 * 4 * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_are_known_from_their_files_before_they_are_loaded(
    tiny: Path, make_engine: MakeEngine, dtype: torch.dtype
) -> None:
    pipeline: Any = make_engine()._family("tiny").pipeline
    parameters = sum(parameter.numel() for part in networks(pipeline).values() for parameter in part.parameters())

    expected = bytes_once_loaded(PipelineSpec("tiny", str(tiny)), dtype)

    assert expected == parameters * dtype.itemsize


def test_files_that_cannot_be_read_count_nothing(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "x.safetensors").write_bytes(b"\xff" * 100)

    assert bytes_once_loaded(PipelineSpec("x", str(tmp_path)), torch.float32) == 0
    assert bytes_once_loaded(PipelineSpec("x", "someone/some-model"), torch.float32) == 0


@pytest.mark.parametrize("tier", ["slicing", "offload"])
def test_a_smaller_tier_paints_the_same_image(make_engine: MakeEngine, tiny: Path, tier: str) -> None:
    spec = PipelineSpec("tiny", str(tiny), memory=tier)
    with make_engine() as full, Engine({"tiny": spec}, device="cpu", keep_latents=True) as small:
        expected = full.submit("tiny", make_request()).future.result(timeout=60)
        image = small.submit("tiny", make_request()).future.result(timeout=60)

    assert image.latents is not None
    assert expected.latents is not None
    assert difference(image.latents, expected.latents) < BOUND
    assert abs(image.pixels.astype(int) - expected.pixels.astype(int)).max() <= 1


def test_the_tier_is_logged(tiny: Path, captured_logs: list[Any]) -> None:
    engine = Engine({"tiny": PipelineSpec("tiny", str(tiny), memory="slicing")}, device="cpu")
    engine.load("tiny")
    engine.stop()

    loaded = next(line for line in captured_logs if line["event"] == "model_loaded")
    assert loaded["memory"] == "slicing"
    assert loaded["bytes"] > 0


def test_attention_runs_on_sdpa_unless_the_tier_slices_it(make_engine: MakeEngine) -> None:
    pipeline: Any = make_engine()._family("tiny").pipeline
    assert all(uses_sdpa(network) for network in networks(pipeline).values())
    assert {type(processor) for processor in pipeline.unet.attn_processors.values()} == {AttnProcessor2_0}

    assert place(pipeline, "slicing", CPU) == "slicing"

    assert {type(processor) for processor in pipeline.unet.attn_processors.values()} == {SlicedAttnProcessor}
    assert pipeline.vae.use_tiling


def test_networks_that_came_without_sdpa_are_given_it(make_engine: MakeEngine) -> None:
    pipeline: Any = make_engine()._family("tiny").pipeline
    pipeline.text_encoder.set_attn_implementation("eager")
    pipeline.unet.set_attention_slice(1)

    use_sdpa(pipeline)

    assert all(uses_sdpa(network) for network in networks(pipeline).values())


def test_offload_brings_a_network_when_it_is_called_and_sends_the_one_before_it_away() -> None:
    parts = {name: torch.nn.Linear(2, 2) for name in ("text_encoder", "unet")}
    away: list[str] = []
    for name, part in parts.items():
        part.to = lambda device, name=name: away.append(f"{name} {device}")  # type: ignore[method-assign, assignment]
    offload = Offload(parts, device=torch.device("cpu", 0), host=CPU)
    offload.install()
    away.clear()

    for name in ("text_encoder", "unet", "unet", "text_encoder"):
        parts[name](torch.zeros(1, 2))

    assert away == [
        "text_encoder cpu:0",
        "text_encoder cpu",
        "unet cpu:0",
        "unet cpu",
        "text_encoder cpu:0",
    ]
    assert (offload.moves, offload.at_work) == (3, "text_encoder")


def test_offload_hears_of_both_halves_of_a_vae(make_engine: MakeEngine) -> None:
    pipeline: Any = make_engine()._family("tiny").pipeline
    offload = Offload(networks(pipeline), device=CPU)
    offload.install()

    with torch.inference_mode():
        pipeline.vae.decode(torch.zeros(1, 4, 8, 8))
        assert offload.at_work == "vae"
        pipeline.text_encoder(torch.zeros(1, 77, dtype=torch.int64))
        pipeline.vae.encode(torch.zeros(1, 3, 64, 64))

    assert (offload.moves, offload.at_work) == (3, "vae")


@pytest.mark.parametrize(("dtype", "channels_last"), [("float32", False), ("bfloat16", True)])
def test_convolutions_lie_channels_last_in_half_precision_alone(
    dtype: str, channels_last: bool, make_engine: MakeEngine
) -> None:
    pipeline: Any = make_engine(dtype=dtype)._family("tiny").pipeline

    weight = pipeline.unet.down_blocks[0].resnets[0].conv1.weight

    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
