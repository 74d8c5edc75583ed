"""The engine's adapters: what its samples may use, and the slots of each loaded model.

Stands between the loop, which knows samples, and the slots, which know layers. A model's slots live as long as its
family: a model that is dropped and loaded again starts with none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch

from darkroom.errors import AdapterMismatch, FieldProblem, InvalidParams, UnknownAdapter
from engine.batch import Rows
from engine.denoising import RowAdapters
from engine.families.family import Family
from engine.lora.file import AdapterFile
from engine.lora.slots import AdapterSlots
from engine.lora.targets import UNET
from engine.samples import AdapterUse, Sample
from engine.text import Embedding


class Adapters:
    """All adapters of one engine. Only `check`, `resident` and `close` are for other threads than the device's."""

    def __init__(
        self,
        files: Mapping[str, AdapterFile],
        *,
        device: torch.device,
        capacity: int,
        on_change: Callable[[], None],
    ) -> None:
        self._files = dict(files)
        self._device = device
        self._capacity = capacity
        self._on_change = on_change
        self._slots: WeakKeyDictionary[Family, AdapterSlots] = WeakKeyDictionary()

    def check(self, model: str, uses: Sequence[AdapterUse]) -> None:
        """Refuse what can't be, before a sample waits for it.

        Raises:
            UnknownAdapter: when the engine was not given such an adapter.
            AdapterMismatch: when it is another model's.
            InvalidParams: when they are too many, or a scale is no number.
        """
        for use in uses:
            file = self._files.get(use.name)
            if file is None:
                raise UnknownAdapter(f"there is no adapter {use.name}")
            if file.model != model:
                raise AdapterMismatch(f"adapter {use.name} was made for model {file.model}, not for {model}")
            if not math.isfinite(use.scale):
                raise InvalidParams([FieldProblem("adapters", f"the scale of {use.name} must be a number")])
        if len(uses) > self._capacity:
            problem = f"at most {self._capacity} adapters work together"
            raise InvalidParams([FieldProblem("adapters", problem, str(self._capacity), self._capacity)])

    def ready(self, sample: Sample, family: Family) -> bool:
        """Whether the sample's adapters are in place; if not, they are on their way.

        Raises:
            AdapterInvalid: (or AdapterMismatch) when one of their files can't be used.
        """
        names = [use.name for use in sample.adapters]
        if not names:
            return True
        slots = self._of(sample.model, family)
        return slots.acquire(sample, names) and slots.ready(sample)

    def release(self, sample: Sample) -> None:
        """Let go of all that a sample holds or waits for."""
        for slots in self._slots.values():
            slots.release(sample)

    def row(self, sample: Sample, family: Family) -> RowAdapters:
        """What each row of the sample carries."""
        if not sample.adapters:
            return ()
        return self._slots[family].uses([(use.name, use.scale) for use in sample.adapters])

    def denoise(self, family: Family, rows: Rows) -> torch.Tensor:
        """The family's forward, with each row's adapters at work."""
        if not any(rows.adapters):
            return family.denoise(rows)
        with self._slots[family].each_row(rows.adapters):
            return family.denoise(rows)

    def encode(self, sample: Sample, family: Family, prompt: str) -> Embedding:
        """The family's embedding of a prompt, with the sample's adapters at work."""
        if not self.text_key(sample, family):
            return family.encode(prompt)
        with self._slots[family].every_row(self.row(sample, family)):
            return family.encode(prompt)

    def text_key(self, sample: Sample, family: Family) -> Hashable:
        """What of the sample's adapters changes its embeddings."""
        uses = sample.adapters
        return tuple((use.name, use.scale) for use in uses if self._slots[family].parts(use.name) - {UNET})

    def resident(self) -> tuple[str, ...]:
        """The adapters in memory, those of all models."""
        return tuple(name for slots in tuple(self._slots.values()) for name in slots.resident())

    def close(self) -> None:
        """Wait for the file under way."""
        for slots in tuple(self._slots.values()):
            slots.close()

    def _of(self, model: str, family: Family) -> AdapterSlots:
        if family not in self._slots:
            self._slots[family] = AdapterSlots(
                {name: file for name, file in self._files.items() if file.model == model},
                family.networks,
                device=self._device,
                capacity=self._capacity,
                on_change=self._on_change,
            )
        return self._slots[family]
