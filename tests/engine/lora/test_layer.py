"""What LoRA layers add to their rows, and what they leave alone."""

from __future__ import annotations

import pytest
import torch

from engine.lora.layer import LoraLayer, RowTable, Uses
from engine.lora.mixed import Delta
from engine.lora.targets import Layer

ROWS = 6
LAYERS = {
    "linear": lambda: (torch.nn.Linear(6, 8), (5, 6)),
    "linear without bias": lambda: (torch.nn.Linear(6, 8, bias=False), (5, 6)),
    "linear on vectors": lambda: (torch.nn.Linear(6, 8), (6,)),
    "conv 3x3": lambda: (torch.nn.Conv2d(6, 8, 3, padding=1), (6, 10, 10)),
    "conv 1x1": lambda: (torch.nn.Conv2d(6, 8, 1), (6, 10, 10)),
    "conv with stride": lambda: (torch.nn.Conv2d(6, 8, 3, stride=2, padding=1), (6, 10, 10)),
}


def make_delta(layer: Layer, *, rank: int = 4, factor: float = 0.5, dtype: torch.dtype = torch.float32) -> Delta:
    out, inner, *kernel = layer.weight.shape
    down, up = torch.randn(rank, inner, *kernel), torch.randn(out, rank, *(1 for _ in kernel))
    return Delta(down.to(dtype), up.to(dtype), factor)


def merged(layer: Layer, deltas: list[tuple[Delta, float]]) -> torch.Tensor:
    """The weights that a merge of these deltas would give."""
    weight = layer.weight.detach().clone()
    for delta, scale in deltas:
        product = delta.up.flatten(1) @ delta.down.flatten(1)
        weight += scale * delta.factor * product.reshape(weight.shape)
    return weight


@pytest.fixture(params=LAYERS)
def layer_and_input(request: pytest.FixtureRequest) -> tuple[Layer, torch.Tensor]:
    torch.manual_seed(0)
    layer, shape = LAYERS[request.param]()
    return layer, torch.randn(ROWS, *shape)


def run(layer: Layer, given: torch.Tensor, table: RowTable, rows: list[Uses]) -> torch.Tensor:
    with torch.inference_mode(), table.each(rows):
        return layer(given)  # type: ignore[no-any-return]


def test_every_row_gets_its_own_adapters_at_its_own_scales(layer_and_input: tuple[Layer, torch.Tensor]) -> None:
    layer, given = layer_and_input
    table = RowTable()
    lora = LoraLayer(layer, table)
    deltas = {0: make_delta(layer, rank=4), 1: make_delta(layer, rank=2, factor=2.0), 5: make_delta(layer, rank=7)}
    base = layer(given).detach()
    for slot, delta in deltas.items():
        lora.put(slot, delta)
    rows: list[Uses] = [((0, 1.0),), (), ((1, 0.3), (5, -1.5)), ((1, 0.3), (5, -1.5)), ((0, 0.25),), ((5, 1.0), (1, 1))]

    ours = run(layer, given, table, rows)

    assert torch.equal(ours[1], base[1])
    for index, uses in enumerate(rows):
        weight = merged(layer, [(deltas[slot], scale) for slot, scale in uses])
        expected = torch.func.functional_call(layer, {"weight": weight}, given[index : index + 1])
        assert torch.allclose(ours[index : index + 1], expected, atol=1e-4)


def test_without_rows_that_use_it_the_base_layer_is_bit_equal(layer_and_input: tuple[Layer, torch.Tensor]) -> None:
    layer, given = layer_and_input
    table = RowTable()
    base = layer(given).detach()

    LoraLayer(layer, table).put(0, make_delta(layer))

    assert torch.equal(layer(given), base)
    assert torch.equal(run(layer, given, table, [()] * ROWS), base)


def test_modules_and_state_dict_stay_as_they_are(layer_and_input: tuple[Layer, torch.Tensor]) -> None:
    layer, _ = layer_and_input
    network = torch.nn.ModuleDict({"layer": layer})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    LoraLayer(layer, RowTable()).put(0, make_delta(layer))

    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert network["layer"] is layer


def test_the_last_adapter_to_go_takes_the_hook_along(layer_and_input: tuple[Layer, torch.Tensor]) -> None:
    layer, given = layer_and_input
    table = RowTable()
    lora = LoraLayer(layer, table)
    base = layer(given).detach()
    lora.put(0, make_delta(layer))
    lora.put(1, make_delta(layer))

    lora.drop(0)
    assert layer._forward_hooks
    lora.drop(1)
    lora.drop(1)

    assert not layer._forward_hooks
    assert torch.equal(run(layer, given, table, [((0, 1.0),)] * ROWS), base)


def test_all_rows_may_use_the_same_however_many_they_are() -> None:
    layer, table = torch.nn.Linear(6, 8), RowTable()
    delta = make_delta(layer)
    LoraLayer(layer, table).put(3, delta)
    weight = merged(layer, [(delta, 0.5)])

    for rows in (1, 4):
        given = torch.randn(rows, 5, 6)
        with torch.inference_mode(), table.every(((3, 0.5),)):
            ours = layer(given)
        assert torch.allclose(ours, torch.nn.functional.linear(given, weight, layer.bias), atol=1e-5)


def test_the_table_is_empty_again_after_a_forward_that_failed() -> None:
    table = RowTable()

    with pytest.raises(RuntimeError, match="boom"), table.each([((0, 1.0),)]):
        raise RuntimeError("boom")

    assert table.runs == ()


def test_a_table_of_other_rows_than_the_input_is_an_error() -> None:
    layer, table = torch.nn.Linear(6, 8), RowTable()
    LoraLayer(layer, table).put(0, make_delta(layer))

    with (
        pytest.raises(RuntimeError, match="5 rows came to a layer, but the table has 2"),
        table.each([((0, 1.0),)] * 2),
    ):
        layer(torch.randn(5, 6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["linear", "conv 3x3"])
def test_half_precision_is_as_exact_as_its_numbers_are(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[kind]()
    delta, given, table = make_delta(layer), torch.randn(ROWS, *shape), RowTable()
    expected = torch.func.functional_call(layer, {"weight": merged(layer, [(delta, 0.7)])}, given)
    layer.to(dtype)
    LoraLayer(layer, table).put(0, Delta(delta.down.to(dtype), delta.up.to(dtype), delta.factor))

    ours = run(layer, given.to(dtype), table, [((0, 0.7),)] * ROWS)

    assert ours.dtype is dtype
    assert (ours.float() - expected).norm() / expected.norm() < 8 * torch.finfo(dtype).eps


def test_channels_last_stays_channels_last() -> None:
    layer, table = torch.nn.Conv2d(6, 8, 3, padding=1).to(memory_format=torch.channels_last), RowTable()
    delta = make_delta(layer)
    LoraLayer(layer, table).put(0, delta)
    given = torch.randn(2, 6, 10, 10)

    ours = run(layer, given.contiguous(memory_format=torch.channels_last), table, [((0, 1.0),), ()])

    assert ours.is_contiguous(memory_format=torch.channels_last)
    expected = torch.func.functional_call(layer, {"weight": merged(layer, [(delta, 1.0)])}, given[:1])
    assert torch.allclose(ours[:1], expected, atol=1e-4)


def test_one_rows_overflow_does_not_reach_its_neighbours() -> None:
    layer, table = torch.nn.Linear(6, 8), RowTable()
    lora = LoraLayer(layer, table)
    huge = Delta(torch.full((4, 6), 1e30), torch.full((8, 4), 1e30), 1.0)
    lora.put(0, huge)
    lora.put(1, make_delta(layer))
    given = torch.ones(3, 6)

    ours = run(layer, given, table, [((1, 1.0),), ((0, 1.0),), ()])

    assert torch.isfinite(ours[[0, 2]]).all()
    assert not torch.isfinite(ours[1]).all()
