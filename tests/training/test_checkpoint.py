"""Checkpoints: weights alone carry a stage on."""

from __future__ import annotations

from pathlib import Path

import torch

from training.checkpoint import Checkpoint


def test_weights_and_share_come_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "stage")
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)

    checkpoint.save(model, share=0.25)

    assert checkpoint.share() == 0.25
    assert checkpoint.load(other)
    assert torch.equal(model.weight, other.weight)


def test_without_weights_there_is_nothing_to_load(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "stage")

    assert checkpoint.share() == 0.0
    assert not checkpoint.load(torch.nn.Linear(3, 2))


def test_a_share_without_its_weights_does_not_count(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "stage")
    checkpoint.save(torch.nn.Linear(3, 2), share=1.0)
    (tmp_path / "stage.safetensors").unlink()

    assert checkpoint.share() == 0.0
