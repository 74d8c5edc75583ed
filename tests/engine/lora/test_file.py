"""Reading LoRA files: what fits is read exactly, what doesn't is refused with a sentence that helps."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.errors import AdapterInvalid, AdapterMismatch
from engine.lora.file import MAX_FILE_BYTES, AdapterFile, read_adapter
from engine.lora.targets import Place, Targets
from tests.engine.lora.files import RANK, in_kohya_names, listed, random_lora, save_lora, save_raw

CPU = torch.device("cpu")
PLACE = Place("unet", "block.to_q")


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = torch.nn.Linear(6, 8)
        self.conv = torch.nn.Conv2d(6, 8, 3, padding=1)
        self.grouped = torch.nn.Conv2d(6, 6, 3, groups=6)


@pytest.fixture
def network() -> torch.nn.Module:
    return torch.nn.ModuleDict({"block": Block()})


@pytest.fixture
def targets(network: torch.nn.Module) -> Targets:
    return Targets({"unet": network})


def tensors(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    names = {"down": "unet.block.to_q.lora_A.weight", "up": "unet.block.to_q.lora_B.weight"}
    matrices = {"down": torch.randn(RANK, 6), "up": torch.randn(8, RANK), **changes}
    return {names.get(name, name): matrix for name, matrix in matrices.items()}


def test_weights_are_read_exactly(targets: Targets, tmp_path: Path) -> None:
    wanted = tensors()

    adapter = read_adapter(save_lora(tmp_path / "a.safetensors", wanted), targets, CPU)

    delta = adapter.deltas[PLACE]
    assert torch.equal(delta.down, wanted["unet.block.to_q.lora_A.weight"])
    assert torch.equal(delta.up, wanted["unet.block.to_q.lora_B.weight"])
    assert delta.factor == 1
    assert adapter.parts == {"unet"}
    assert adapter.weight_bytes == 4 * RANK * (6 + 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_take_the_dtype_of_the_layer(dtype: torch.dtype, targets: Targets, tmp_path: Path) -> None:
    wanted = {name: tensor.to(dtype) for name, tensor in tensors().items()}

    delta = read_adapter(save_lora(tmp_path / "a.safetensors", wanted), targets, CPU).deltas[PLACE]

    assert torch.equal(delta.down, wanted["unet.block.to_q.lora_A.weight"].float())


@pytest.mark.parametrize("alpha", [torch.tensor(2.0), torch.tensor([2.0]), torch.tensor(2), torch.tensor(2.0).half()])
def test_alpha_is_divided_by_the_rank(alpha: torch.Tensor, targets: Targets, tmp_path: Path) -> None:
    file = save_lora(tmp_path / "a.safetensors", tensors(**{"unet.block.to_q.alpha": alpha}))

    assert read_adapter(file, targets, CPU).deltas[PLACE].factor == 2 / RANK


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({"unet.lora_alpha": 8}, 8 / RANK),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 2}}, 2 / RANK),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"^block.to_q": 2}}, 2 / RANK),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"^to_q": 2}}, 8 / RANK),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 8 / RANK**0.5),
        ({"text_encoder.lora_alpha": 8}, 1),
    ],
)
def test_diffusers_settings_give_the_alpha(
    settings: dict[str, Any], factor: float, targets: Targets, tmp_path: Path
) -> None:
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    file = save_lora(tmp_path / "a.safetensors", tensors(), metadata=metadata)

    assert read_adapter(file, targets, CPU).deltas[PLACE].factor == factor


@pytest.mark.parametrize(
    "settings",
    [
        "[",
        "[1]",
        "[" * 100_000,
        '{"unet.use_dora": true}',
        '{"unet.lora_alpha": NaN}',
        '{"unet.lora_alpha": "8"}',
        '{"unet.lora_alpha": true}',
        f'{{"unet.lora_alpha": {"9" * 4000}}}',
        '{"unet.alpha_pattern": [1]}',
        '{"unet.alpha_pattern": {"(a+)+$": 1}}',
    ],
    ids=lambda text: text[:40],
)
def test_settings_that_make_no_sense_are_refused(settings: str, targets: Targets, tmp_path: Path) -> None:
    file = save_lora(tmp_path / "a.safetensors", tensors(), metadata={"lora_adapter_metadata": settings})

    with pytest.raises(AdapterInvalid, match=r"settings|DoRA"):
        read_adapter(file, targets, CPU)


def test_a_convolution_is_read_in_its_own_shape(network: torch.nn.Module, targets: Targets, tmp_path: Path) -> None:
    lora = random_lora({"unet": network}, layers=["conv"], seed=1)

    adapter = read_adapter(save_lora(tmp_path / "a.safetensors", in_kohya_names(lora)), targets, CPU)

    assert adapter.deltas[Place("unet", "block.conv")].down.shape == (RANK, 6, 3, 3)


def test_matrices_kept_as_one_by_one_convolutions_are_read(targets: Targets, tmp_path: Path) -> None:
    flat = tensors()
    file = save_lora(tmp_path / "a.safetensors", {name: matrix[..., None, None] for name, matrix in flat.items()})

    assert torch.equal(read_adapter(file, targets, CPU).deltas[PLACE].up, flat["unet.block.to_q.lora_B.weight"])


def with_one(value: float) -> torch.Tensor:
    matrix = torch.randn(8, RANK)
    matrix[-1, -1] = value
    return matrix


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"up": with_one(float("nan"))}, "holds NaN"),
        ({"up": with_one(float("inf"))}, "holds NaN"),
        ({"up": torch.randn(8, RANK + 1)}, "differ in rank"),
        ({"down": torch.randn(300, 6), "up": torch.randn(8, 300)}, "rank is 300"),
        ({"up": torch.randn(8)}, "differ in rank"),
        ({"down": torch.ones(RANK, 6, dtype=torch.int64)}, "are integers"),
        ({"unet.block.to_q.alpha": torch.tensor(float("nan"))}, "holds NaN"),
        ({"unet.block.to_q.alpha": torch.tensor(-1.0)}, "alpha must be"),
        ({"unet.block.to_q.alpha": torch.tensor(1e9)}, "alpha must be"),
        ({"unet.block.to_q.alpha": torch.ones(2)}, "not one number"),
        ({"unet.block.conv.alpha": torch.tensor(1.0)}, "lacks one of its two matrices"),
        ({"unet.block.conv.lora_A.weight": torch.randn(RANK, 6, 3, 3)}, "lacks one of its two matrices"),
        ({"lora_unet_block_to_q.lora_down.weight": torch.randn(RANK, 6)}, "for the second time"),
        ({"unet.block.to_q.lora_magnitude_vector": torch.randn(8)}, "DoRA"),
        ({"lora_unet_block_to_q.hada_w1_a": torch.randn(8, 4)}, "LoHa"),
        ({"lora_unet_block_conv.lora_mid.weight": torch.randn(4, 4, 3, 3)}, "no plain LoRA"),
        ({"unet.block.to_q.lora_B.bias": torch.randn(8)}, "biases are not read"),
    ],
)
def test_what_is_no_sound_lora_is_refused(
    changes: dict[str, torch.Tensor], reason: str, targets: Targets, tmp_path: Path
) -> None:
    file = save_lora(tmp_path / "style.safetensors", tensors(**changes))

    with pytest.raises(AdapterInvalid, match=f"adapter style: .*{reason}"):
        read_adapter(file, targets, CPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"down": torch.randn(RANK, 7)},
        {"up": torch.randn(9, RANK)},
        {"down": torch.randn(RANK, 6, 3, 3)},
        {"unet.block.to_x.lora_A.weight": torch.randn(RANK, 6)},
        {"unet.block.grouped.lora_A.weight": torch.randn(RANK, 1, 3, 3)},
        {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.randn(RANK, 6)},
        {"text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight": torch.randn(RANK, 6)},
        {"transformer.blocks.0.to_q.lora_A.weight": torch.randn(RANK, 6)},
    ],
    ids=["inputs", "outputs", "kernel", "layer", "grouped", "kohya part", "part", "kind of model"],
)
def test_another_models_lora_is_told_as_such(
    changes: dict[str, torch.Tensor], targets: Targets, tmp_path: Path
) -> None:
    file = save_lora(tmp_path / "style.safetensors", tensors(**changes))

    with pytest.raises(AdapterMismatch, match="adapter style: it was made for another model"):
        read_adapter(file, targets, CPU)


def test_weights_too_large_for_the_models_dtype_are_refused(tmp_path: Path) -> None:
    targets = Targets({"unet": torch.nn.ModuleDict({"block": Block().half()})})
    file = save_lora(tmp_path / "a.safetensors", tensors(up=with_one(1e6)))

    with pytest.raises(AdapterInvalid, match=r"too large for torch\.float16"):
        read_adapter(file, targets, CPU)


def test_a_file_that_changed_since_it_was_listed_is_refused(targets: Targets, tmp_path: Path) -> None:
    file = save_lora(tmp_path / "a.safetensors", tensors())
    save_lora(tmp_path / "a.safetensors", tensors())

    with pytest.raises(AdapterInvalid, match="SHA-256 differs"):
        read_adapter(file, targets, CPU)


def test_the_extension_says_nothing(targets: Targets, tmp_path: Path) -> None:
    pickled = tmp_path / "a.safetensors"
    torch.save(tensors(), pickled)
    sound = save_lora(tmp_path / "b.bin", tensors())

    with pytest.raises(AdapterInvalid):
        read_adapter(listed(pickled), targets, CPU)
    assert read_adapter(sound, targets, CPU).parts == {"unet"}


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.touch, "header must be"),
        (Path.mkdir, "not a plain file|Is a directory"),
        (_fifo, "not a plain file"),
        (_sparse, "larger than 512 MiB"),
        (lambda path: path.symlink_to("/dev/zero"), "not a plain file"),
        (lambda path: path.symlink_to(path.name), "can't be read"),
        (lambda _path: None, "can't be read: No such file"),
    ],
    ids=["empty", "folder", "pipe", "huge", "endless device", "loop of links", "missing"],
)
def test_a_path_that_is_no_sane_file_is_refused_at_once(
    make: Callable[[Path], None], reason: str, targets: Targets, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    make(path)
    started = time.monotonic()

    with pytest.raises(AdapterInvalid, match=reason):
        read_adapter(AdapterFile("a", "tiny", path, "0" * 64), targets, CPU)

    assert time.monotonic() - started < 1


def test_a_hostile_file_costs_little_memory_and_time(targets: Targets, tmp_path: Path) -> None:
    """The largest header that is read at all, full of what takes most room when parsed."""
    file = save_raw(tmp_path / "a.safetensors", b'{"a": [' + b"{}," * 349_000 + b"{}]}")
    started = time.monotonic()

    with pytest.raises(AdapterInvalid, match="and nothing else"):
        read_adapter(file, targets, CPU)

    assert time.monotonic() - started < 5


def test_messages_do_not_name_the_path(targets: Targets, tmp_path: Path) -> None:
    file = AdapterFile("style", "tiny", tmp_path / "secret-folder" / "a.safetensors", "0" * 64)

    with pytest.raises(AdapterInvalid) as error:
        read_adapter(file, targets, CPU)

    assert "secret-folder" not in str(error.value)


def test_a_file_of_another_hash_is_refused_though_all_else_is_right(targets: Targets, tmp_path: Path) -> None:
    file = save_lora(tmp_path / "a.safetensors", tensors())

    with pytest.raises(AdapterInvalid, match="SHA-256"):
        read_adapter(replace(file, sha256="0" * 64), targets, CPU)
