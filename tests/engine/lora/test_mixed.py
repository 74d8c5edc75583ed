"""Rows of several adapters at once: the numbers of one adapter after another, and who is left to that way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.lora.mixed import Delta, Mix, add_mixed
from engine.lora.targets import Layer

LAYERS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "linear": (torch.nn.Linear(12, 20), (5, 12)),
    "linear on vectors": (torch.nn.Linear(12, 20), (12,)),
    "pointwise": (torch.nn.Conv2d(12, 20, 1), (12, 4, 6)),
    "convolution": (torch.nn.Conv2d(12, 20, 3, padding=1), (12, 4, 6)),
    "with a stride": (torch.nn.Conv2d(12, 20, 3, stride=2, padding=1), (12, 4, 6)),
    "pointwise with a stride": (torch.nn.Conv2d(12, 20, 1, stride=2), (12, 4, 6)),
}
MIX = Mix(1, [2, 1, 3], slots=[4, 0, 2], scales=[1.0, 0.5, -0.7])


def deltas(layer: Layer, rank: int = 3, factor: float = 0.5) -> dict[int, Delta]:
    kernel = layer.weight.shape[2:]
    return {
        slot: Delta(torch.randn(rank, 12, *kernel), torch.randn(20, rank, *(1 for _ in kernel)), factor)
        for slot in (0, 2, 4)
    }


def one_after_another(layer: Layer, given: torch.Tensor, by_slot: dict[int, Delta]) -> torch.Tensor:
    """What each row gets by a layer whose weights its adapter is merged into."""
    assert layer.bias is not None
    output: torch.Tensor = layer(given).clone()
    for row, run in enumerate(MIX.runs, start=MIX.rows.start):
        delta = by_slot[MIX.slots[run]]
        change = (delta.up.flatten(1) @ delta.down.flatten(1)).view_as(layer.weight)
        scale = [1.0, 0.5, -0.7][run] * delta.factor
        merged = torch.func.functional_call(
            layer, {"weight": layer.weight + scale * change, "bias": layer.bias}, given[row : row + 1]
        )
        output[row] = merged[0]
    return output


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
@torch.inference_mode()
def test_each_row_gets_the_delta_of_its_own_adapter(layer: Layer, shape: tuple[int, ...]) -> None:
    given, by_slot = torch.randn(8, *shape), deltas(layer)
    output = layer(given)

    assert add_mixed(layer, MIX, by_slot, given, output)

    expected = one_after_another(layer, given, by_slot)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(output[0], layer(given)[0]), "a row before the runs stays as it is"
    assert torch.equal(output[7], layer(given)[7])


@torch.inference_mode()
def test_adapters_that_differ_in_rank_or_factor_or_reach_are_taken_one_by_one() -> None:
    layer, shape = LAYERS["linear"]
    given = torch.randn(8, *shape)
    alike = deltas(layer)
    others = {
        "rank": alike | {2: deltas(layer, rank=2)[2]},
        "factor": alike | {2: replace(alike[2], factor=0.25)},
        "reach": {slot: delta for slot, delta in alike.items() if slot != 2},
    }
    for by_slot in others.values():
        output = layer(given)
        assert not add_mixed(layer, MIX, by_slot, given, output)
        assert torch.equal(output, layer(given)), "and nothing was done"


@torch.inference_mode()
def test_a_convolution_whose_channels_come_last_is_taken_one_by_one() -> None:
    layer, shape = LAYERS["convolution"]
    given = torch.randn(8, *shape).to(memory_format=torch.channels_last)

    assert not add_mixed(layer, MIX, deltas(layer), given, layer(given))
