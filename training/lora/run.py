"""One LoRA from pictures to files: encode, train or go on training, validate at intervals, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training.lora.base import load_base
from training.lora.examples import encode_pictures
from training.lora.export import Card, TrainedLora, export
from training.lora.pictures import Pictures
from training.lora.progress import Progress
from training.lora.settings import LoraSettings
from training.lora.trainer import Trainer
from training.lora.validation import Validation


@dataclass(frozen=True)
class Plan:
    """What to train, on what, and where to put it."""

    model: Path
    pictures: Pictures
    card: Card
    settings: LoraSettings
    out: Path  # gets NAME.safetensors, and NAME.kohya.safetensors
    work: Path  # progress and validation pictures
    prior: Pictures | None = None
    forms: Sequence[str] = ("diffusers",)
    save_every: int = 100
    validate_every: int = 0  # steps; 0: never
    prompts: Sequence[str] = ()
    device: str = "cpu"
    checkpointing: bool = False  # less memory for more time

    @property
    def progress(self) -> Progress:
        return Progress(self.work / f"{self.card.name}.progress.pt")

    def file(self, form: str) -> Path:
        """Where the export of that form goes."""
        ending = ".safetensors" if form == "diffusers" else f".{form}.safetensors"
        return self.out / (self.card.name + ending)


def train_lora(plan: Plan) -> list[Path]:
    """Train what is left of the plan and write its files; a finished training is only exported again."""
    base = load_base(plan.model, torch.device(plan.device))
    if plan.checkpointing:
        base.unet.enable_gradient_checkpointing()
    settings, keep_words = plan.settings, not plan.settings.train_text
    data = encode_pictures(base, plan.pictures, size=settings.size, name="pictures", keep_words=keep_words)
    prior = None
    if plan.prior is not None:
        prior = encode_pictures(base, plan.prior, size=settings.size, name="prior", keep_words=keep_words)
    trainer = Trainer(base, settings, data, prior)
    trainer.resume(plan.progress)
    validation = Validation(base, plan.prompts, plan.work / f"{plan.card.name}.validation", settings.size)

    def look(step: int) -> None:
        if plan.validate_every and plan.prompts and step % plan.validate_every == 0:
            validation.paint(step)

    trainer.train(progress=plan.progress, save_every=plan.save_every, on_step=look)
    lora = TrainedLora(base, trainer.parts, settings, plan.card)
    files = [plan.file(form) for form in plan.forms]
    for form, file in zip(plan.forms, files, strict=True):
        export(lora, file, form=form)
    return files
