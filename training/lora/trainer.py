"""Trains a LoRA on a frozen model (Hu et al. 2022): low-rank changes of the UNet, and of the text encoders if wanted.

Prior pictures keep what the model knew of the subject's kind (Ruiz et al. 2023, DreamBooth): their loss is added. What
a step draws comes from the seed and the step's number alone, so a training that was cut off and resumed ends with the
weights of one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from darkroom.errors import ConfigurationError
from training.lora.base import UNET, Base, Words
from training.lora.examples import Examples, embed
from training.lora.progress import Progress, Reached
from training.lora.settings import TEXT_TARGETS, LoraSettings

_STRIDE = 1_000_003  # seeds of different trainings share no step
OnStep = Callable[[int], None]  # how many steps are done


class Trainer:
    """One training: the model with its new layers, the optimizer, and how far they have come."""

    def __init__(self, base: Base, settings: LoraSettings, data: Examples, prior: Examples | None = None) -> None:
        self._base = base
        self._settings = settings
        self._data = data
        self._prior = prior
        self._empty_tokens = base.tokens([""])
        self._empty = embed(base, self._empty_tokens)
        self.parts = _add_layers(base, settings)
        self._weights = {name: _weights(part) for name, part in self.parts.items()}
        groups = [{"params": list(weights.values()), "name": name} for name, weights in self._weights.items()]
        self._optimizer = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=1e-2)
        self.step = 0

    def resume(self, progress: Progress) -> None:
        """Go on from where an earlier run stopped; do nothing where there was none.

        Raises:
            ConfigurationError: when that run had other settings.
        """
        reached = progress.read(self._settings)
        if reached is None:
            return
        with torch.no_grad():
            for name, weight in self._flat().items():
                weight.copy_(reached.weights[name])
        self._optimizer.load_state_dict(reached.optimizer)
        self.step = reached.step

    def train(self, *, progress: Progress | None = None, save_every: int = 100, on_step: OnStep | None = None) -> None:
        """Take the steps that are left; save at intervals and at the end."""
        for _ in self._steps():
            last = self.step == self._settings.steps
            if progress is not None and (last or self.step % save_every == 0):
                self.save(progress)
            if on_step is not None:
                on_step(self.step)

    def save(self, progress: Progress) -> None:
        """Write all that a later run needs to go on."""
        progress.write(self._settings, Reached(self.step, self._flat(), self._optimizer.state_dict()))

    @torch.no_grad()
    def measure(self, draws: int) -> float:
        """The mean loss over so many fixed draws of pictures, noise and timesteps."""
        losses = [self._loss(_generator(self._settings.seed, -1 - draw)) for draw in range(draws)]
        return float(torch.stack(losses).mean())

    def _steps(self) -> Iterator[None]:
        smooth = 0.0
        with tqdm(total=self._settings.steps, initial=self.step, desc="lora", mininterval=5) as bar:
            while self.step < self._settings.steps:
                loss = self._take_step()
                smooth = 0.98 * smooth + 0.02 * loss if smooth else loss
                bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
                bar.update()
                yield

    def _take_step(self) -> float:
        self._set_rates()
        loss = self._loss(_generator(self._settings.seed, self.step))
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._flat().values(), 1.0)
        self._optimizer.step()
        self.step += 1
        return float(loss.detach())

    def _set_rates(self) -> None:
        """A short warm-up, then a cosine down to nothing."""
        settings = self._settings
        share = min(1.0, (self.step + 1) / settings.warm_up)
        share *= 0.5 + 0.5 * math.cos(math.pi * self.step / settings.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = share * (settings.rate if group["name"] == UNET else settings.text_rate)

    def _loss(self, generator: torch.Generator) -> Tensor:
        """The batch's loss, and the prior pictures' where there are any."""
        loss = self._denoising_loss(self._data, generator)
        if self._prior is None:
            return loss
        return loss + self._settings.prior_weight * self._denoising_loss(self._prior, generator)

    def _denoising_loss(self, examples: Examples, generator: torch.Generator) -> Tensor:
        settings, base = self._settings, self._base
        rows = torch.randint(len(examples), (settings.batch,), generator=generator)
        dropped = torch.rand(settings.batch, generator=generator) < settings.drop_caption
        timesteps = torch.randint(base.noise.config.num_train_timesteps, (settings.batch,), generator=generator)
        latents = examples.latents[rows.to(base.device)]
        eps = torch.randn(latents.shape, generator=generator).to(base.device)
        timesteps = timesteps.to(base.device)
        noisy = base.noise.add_noise(latents, eps, timesteps)
        with torch.autocast(base.device.type, torch.bfloat16, enabled=settings.low_precision):
            predicted = base.predict(noisy, timesteps, self._words(examples, rows, dropped))
        return functional.mse_loss(predicted.float(), base.target(latents, eps, timesteps))

    def _words(self, examples: Examples, rows: Tensor, dropped: Tensor) -> Words:
        if examples.words is None:
            tokens = examples.tokens[rows]
            tokens[dropped] = self._empty_tokens[0]
            return self._base.words(tokens)
        words = examples.words.rows(examples.caption_of[rows])
        words.states[dropped] = self._empty.states[0]
        if words.pooled is not None and self._empty.pooled is not None:
            words.pooled[dropped] = self._empty.pooled[0]
        return words.to(torch.float32)

    def _flat(self) -> dict[str, Tensor]:
        return {f"{part}.{name}": w for part, weights in self._weights.items() for name, w in weights.items()}


def _add_layers(base: Base, settings: LoraSettings) -> Mapping[str, Any]:
    """Put the new layers into the networks that learn, as they start: the first matrix random, the second zero."""
    wanted: dict[str, tuple[Any, tuple[str, ...]]] = {UNET: (base.unet, settings.targets)}
    if settings.train_text:
        wanted |= {name: (encoder, TEXT_TARGETS) for name, encoder in base.text_encoders.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for part, (network, targets) in wanted.items():
            config = LoraConfig(
                r=settings.rank,
                lora_alpha=settings.alpha,
                init_lora_weights="gaussian",
                target_modules=list(targets),
            )
            try:
                network.add_adapter(config)
            except ValueError as error:
                raise ConfigurationError(f"the {part} has no layers named {', '.join(targets)}") from error
    return {part: network for part, (network, _) in wanted.items()}


def _weights(network: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * _STRIDE + step)
