"""How long a training stage runs and what its learning rate is meanwhile.

A stage ends after a number of steps or of minutes, whichever is set; the learning rate warms up and falls along a
cosine over that whole, so it always ends decayed. A resumed stage goes on from the share it had reached.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm


@dataclass
class Budget:
    """Steps or minutes to spend; `done` is the share already spent by earlier runs."""

    steps: int | None = None
    minutes: float | None = None
    done: float = 0.0
    _started: float | None = None  # the clock starts with the first step, not while data is prepared
    _step: int = 0

    @property
    def share(self) -> float:
        """Share of the budget spent, 0 to 1."""
        if self.steps is not None:
            return min(1.0, self.done + self._step / self.steps)
        if self.minutes is not None and self._started is not None:
            return min(1.0, self.done + (time.monotonic() - self._started) / (60 * self.minutes))
        return self.done if self.minutes is not None else 1.0

    def run(self, name: str, optimizer: torch.optim.Optimizer, *, peak: float) -> Iterator[tqdm[Any]]:
        """Yield a progress bar once a step with the optimizer's learning rate set, until the budget is spent."""
        self._started = time.monotonic()
        with tqdm(total=1000, desc=name, unit="‰", mininterval=10) as bar:
            while self.share < 1.0:
                rate = peak * min(1.0, (self._step + 1) / 100) * max(0.02, 0.5 + 0.5 * math.cos(math.pi * self.share))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                yield bar
                self._step += 1
                bar.update(int(1000 * self.share) - bar.n)
