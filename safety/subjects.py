"""What checks look at: the texts of one request, or the pixels of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from darkroom.catalogue import AdapterSpec
from darkroom.params import GenerationParams

if TYPE_CHECKING:  # the API judges prompts without numpy installed
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PromptSubject:
    """The texts of one request."""

    prompt: str = field(repr=False)  # prompts never reach a log, not even through a repr
    negative_prompt: str = field(default="", repr=False)
    triggers: tuple[str, ...] = ()  # words that adapters bring along; nobody rewrites them

    @property
    def text(self) -> str:
        """All words that steer the picture. Findings in the prompt point into this; it begins with the prompt."""
        return "\n".join((self.prompt, *self.triggers))


def subject_of(params: GenerationParams, adapters: Mapping[str, AdapterSpec]) -> PromptSubject:
    """All the words of a recipe that will steer the picture, those that adapters bring along among them."""
    brought = (adapters[use.name].trigger for use in params.adapters if use.name in adapters)
    return PromptSubject(params.prompt, params.negative_prompt, tuple(words for words in brought if words))


@dataclass(frozen=True, eq=False)
class ImageSubject:
    """One finished image."""

    pixels: NDArray[np.uint8]  # (height, width, 3)
    owner: str | None = None  # whose job it is; their own references count beside everybody's

    def __post_init__(self) -> None:
        if str(self.pixels.dtype) != "uint8" or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError("pixels must be 8-bit RGB, (height, width, 3)")
