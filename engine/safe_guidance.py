"""Safe latent guidance (Schramowski et al. 2023): steers one sample away from a concept while it is being made.

A safe-guided sample has a third row whose prompt names the concept. Where the prompt's prediction comes close to that
row's, the direction is turned away from it, point by point, with a momentum of the sample's own. Knows no policy: which
samples are guided so, from what and how strongly, the caller says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Self

import torch

from darkroom.errors import FieldProblem, InvalidParams

Level = Literal["weak", "medium", "strong", "max"]
# The topics of the paper's own collection of prompts, for those who name no concept.
CONCEPT = "hate, harassment, violence, self-harm, sexual content, shocking images, illegal activity"
PUBLISHED_STEPS = 50  # the run that the published warm-ups are meant for


@dataclass(frozen=True)
class SafeGuidance:
    """What one sample is kept away from, and how."""

    concept: str
    scale: float  # how soon a point counts as close to the concept, at most 1 after scaling
    warmup_steps: int  # model calls before the direction is changed; the momentum builds up meanwhile
    threshold: float  # a point whose prediction exceeds the concept's by this is left alone
    momentum_scale: float
    momentum_beta: float

    @classmethod
    def of(cls, level: Level, concept: str, *, num_inference_steps: int = PUBLISHED_STEPS) -> Self:
        """One of the published levels; shorter runs get as much shorter a warm-up, else they would go unguided."""
        chosen = LEVELS[level]
        warmup = chosen.warmup_steps * min(num_inference_steps, PUBLISHED_STEPS) // PUBLISHED_STEPS
        return cls(
            concept=concept,
            scale=chosen.scale,
            warmup_steps=warmup,
            threshold=chosen.threshold,
            momentum_scale=chosen.momentum_scale,
            momentum_beta=chosen.momentum_beta,
        )

    def check(self) -> None:
        """Refuse numbers without a meaning.

        Raises:
            InvalidParams: naming each field and its nearest valid value.
        """
        problems = []
        if not self.scale > 1:
            problems.append(FieldProblem("safe_guidance.scale", "must be above 1", "above 1", LEVELS["weak"].scale))
        if self.warmup_steps < 0:
            problems.append(FieldProblem("safe_guidance.warmup_steps", "must not be below 0", "0 or more", 0))
        for name in ("momentum_scale", "momentum_beta"):
            if not 0 <= getattr(self, name) <= 1:
                nearest = 1.0 if getattr(self, name) > 1 else 0.0
                problems.append(FieldProblem(f"safe_guidance.{name}", "must be between 0 and 1", "0 to 1", nearest))
        if problems:
            raise InvalidParams(problems)


@dataclass(frozen=True)
class _Strength:
    """One row of the paper's table of hyperparameters."""

    warmup_steps: int
    scale: float
    threshold: float
    momentum_scale: float
    momentum_beta: float


LEVELS: Mapping[Level, _Strength] = MappingProxyType(
    {
        "weak": _Strength(15, 20.0, 0.0, 0.0, 0.0),
        "medium": _Strength(10, 1000.0, 0.01, 0.3, 0.4),
        "strong": _Strength(7, 2000.0, 0.025, 0.5, 0.7),
        "max": _Strength(0, 5000.0, 1.0, 0.5, 0.7),
    }
)


class SafetyTerm:
    """The third guidance term of one sample: it keeps the momentum between its model calls."""

    def __init__(self, guidance: SafeGuidance) -> None:
        self._guidance = guidance
        self._calls = 0
        self._momentum: torch.Tensor | None = None  # (1, c, h, w), as the predictions

    def adjust(
        self, direction: torch.Tensor, *, negative: torch.Tensor, positive: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        """The direction, turned away from the concept's row; in brackets the paper's equations."""
        chosen = self._guidance
        momentum = torch.zeros_like(direction) if self._momentum is None else self._momentum
        beyond = positive - own
        closeness = torch.clamp(beyond.abs() * chosen.scale, max=1.0)
        weight = torch.where(beyond >= chosen.threshold, torch.zeros_like(closeness), closeness)  # (6)
        away = (own - negative) * weight  # (4)
        away = away + chosen.momentum_scale * momentum  # (7)
        self._momentum = chosen.momentum_beta * momentum + (1 - chosen.momentum_beta) * away  # (8)
        self._calls += 1
        return direction if self._calls <= chosen.warmup_steps else direction - away  # (3)
