"""Training: it learns, goes on where it was cut off, and keeps the prior pictures in mind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darkroom.errors import ConfigurationError
from tests.training.lora.tiny import make_settings, make_trainer, save_pictures
from training.lora.progress import Progress
from training.lora.trainer import Trainer


class _CutError(Exception):
    pass


def _weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer._flat().items()}


def _train_until(trainer: Trainer, step: int, progress: Progress) -> None:
    def cut(done: int) -> None:
        if done == step:
            raise _CutError

    with pytest.raises(_CutError):
        trainer.train(progress=progress, save_every=step, on_step=cut)


def test_a_few_steps_lower_the_loss(model: Path, pictures: Path) -> None:
    trainer = make_trainer(model, pictures, make_settings(steps=30))
    before = trainer.measure(10)

    trainer.train()

    assert trainer.measure(10) < 0.97 * before


def test_only_the_new_layers_learn(model: Path, pictures: Path) -> None:
    trainer = make_trainer(model, pictures, make_settings())
    unet = trainer.parts["unet"]
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}

    trainer.train()

    changed = {name for name, weight in unet.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed
    assert all(".lora_" in name for name in changed)


@pytest.mark.parametrize("train_text", [False, True])
def test_a_resumed_training_ends_as_one_that_was_never_cut(
    train_text: bool, model: Path, pictures: Path, tmp_path: Path
) -> None:
    settings = make_settings(train_text=train_text)
    whole = make_trainer(model, pictures, settings)
    whole.train()
    _train_until(make_trainer(model, pictures, settings), 3, Progress(tmp_path / "state.pt"))

    resumed = make_trainer(model, pictures, settings)
    resumed.resume(Progress(tmp_path / "state.pt"))
    assert resumed.step == 3
    resumed.train()

    wanted = _weights(whole)
    assert all(torch.equal(weight, wanted[name]) for name, weight in _weights(resumed).items())


def test_a_training_with_other_settings_is_not_gone_on_with(model: Path, pictures: Path, tmp_path: Path) -> None:
    progress = Progress(tmp_path / "state.pt")
    make_trainer(model, pictures, make_settings(steps=1)).train(progress=progress)

    with pytest.raises(ConfigurationError, match="another rank, steps"):
        make_trainer(model, pictures, make_settings(steps=2, rank=2)).resume(progress)


def test_text_encoders_learn_where_asked_for(model: Path, pictures: Path) -> None:
    trainer = make_trainer(model, pictures, make_settings(steps=2, train_text=True))
    trainer.train()

    ups = [w for name, w in _weights(trainer).items() if name.startswith("text_encoder.") and ".lora_B." in name]
    assert ups
    assert all(float(weight.abs().max()) > 0 for weight in ups)


@pytest.mark.slow
def test_prior_pictures_are_kept_in_mind(model: Path, pictures: Path, tmp_path: Path) -> None:
    prior = save_pictures(tmp_path / "prior", {"white": (255, 255, 255), "black": (0, 0, 0)})
    weighted = {weight: make_settings(steps=30, prior_weight=weight) for weight in (0.0, 5.0)}

    losses = {}
    for weight, settings in weighted.items():
        trainer = make_trainer(model, pictures, settings, prior=prior)
        trainer.train()
        trainer._data = trainer._prior  # measure on what was to be kept
        trainer._prior = None
        losses[weight] = trainer.measure(10)

    assert losses[5.0] < losses[0.0]


def test_sdxl_learns_with_both_its_text_encoders(xl_model: Path, pictures: Path) -> None:
    trainer = make_trainer(xl_model, pictures, make_settings(steps=20, train_text=True))
    before = trainer.measure(6)

    trainer.train()

    assert set(trainer.parts) == {"unet", "text_encoder", "text_encoder_2"}
    assert trainer.measure(6) < before


def test_layers_that_are_not_there_are_named(model: Path, pictures: Path) -> None:
    with pytest.raises(ConfigurationError, match="the unet has no layers named to_nowhere"):
        make_trainer(model, pictures, make_settings(targets=("to_nowhere",)))
