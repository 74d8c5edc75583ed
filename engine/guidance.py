"""Classifier-free guidance of one sample (Ho & Salimans 2022), with its refinements.

A guided sample has two rows, negative prompt first, as in diffusers' pipelines; an unguided one has a single row. The
scale is applied sample by sample, as a Python number, so that fp16 rounds as it does in the reference. A third row and
what is done with its prediction belong to a `GuidanceTerm`; this module knows none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from darkroom.errors import FieldProblem, InvalidParams

UNGUIDED_ROWS = 1
GUIDED_ROWS = 2
SAFE_ROWS = 3  # of a sample with a term
POSITIVE_ROW = 1  # of a guided sample; its negative row is 0, a term's own row comes last


@dataclass(frozen=True)
class Guidance:
    """How strongly one sample follows its prompt, and for how long."""

    scale: float = 1.0
    rescale: float = 0.0  # share of the contrast that a high scale adds and that is taken back (Lin et al. 2023)
    stop: float = 1.0  # share of the steps after which the sample goes on unguided; below 1 the image is approximate

    @property
    def on(self) -> bool:
        """Whether a sample needs the second row: at scale 1 and below the negative prompt has no say."""
        return self.scale > 1

    def guided_steps(self, num_inference_steps: int) -> int:
        """How many of the first steps are guided."""
        return math.ceil(round(self.stop * num_inference_steps, 6))  # 0.07 * 100 is a hair above 7

    def check(self) -> None:
        """Refuse numbers without a meaning.

        Raises:
            InvalidParams: naming each field and its nearest valid value.
        """
        problems = []
        if not 0 <= self.rescale <= 1:
            nearest = 1.0 if self.rescale > 1 else 0.0
            problems.append(FieldProblem("guidance_rescale", "must be between 0 and 1", "0 to 1", nearest))
        if not 0 < self.stop <= 1:
            problems.append(FieldProblem("guidance_stop", "must be above 0 and at most 1", "0 to 1", 1.0))
        if problems:
            raise InvalidParams(problems)


class GuidanceTerm(Protocol):
    """A third say in a sample's direction, with a row of its own (safe latent guidance, for instance)."""

    def adjust(
        self, direction: torch.Tensor, *, negative: torch.Tensor, positive: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        """The direction to go, given the one from negative to positive; called once per model call, in order."""


def guide(prediction: torch.Tensor, guidance: Guidance, *, term: GuidanceTerm | None = None) -> torch.Tensor:
    """Join a sample's rows (rows, c, h, w) into its one prediction (1, c, h, w)."""
    if len(prediction) == UNGUIDED_ROWS:
        return prediction
    negative, positive, *others = torch.split(prediction, 1)
    direction = positive - negative
    if term is not None:
        direction = term.adjust(direction, negative=negative, positive=positive, own=others[0])
    guided = negative + guidance.scale * direction
    return _rescaled(guided, positive, share=guidance.rescale) if guidance.rescale > 0 else guided


def _rescaled(guided: torch.Tensor, positive: torch.Tensor, *, share: float) -> torch.Tensor:
    """Bring the guided prediction's spread back towards the positive one's (arXiv 2305.08891, section 3.4)."""
    dims = list(range(1, guided.ndim))
    full = guided * (positive.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True))
    return share * full + (1 - share) * guided
