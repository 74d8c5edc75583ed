"""Which models stay in memory, where there is a budget: the least recently used one that no sample needs goes first.

Samples are looked at in the order in which they came. One whose model is not there makes room for it: idle models leave
at once; if that is not enough, the samples behind it may not keep a running model any longer, so that it drains and
leaves. So nobody waits for ever, and no model leaves while a sample that came first still needs it. Runs on the device
thread; loading itself is the loader's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import count
from weakref import WeakSet

from darkroom.errors import ModelUnavailable
from engine.device import free_memory
from engine.loader import Loader
from engine.samples import Sample


class Residency:
    """The models of one engine within `budget` bytes of weights; None is no bound."""

    def __init__(
        self, loader: Loader, *, budget: int | None, on_evicted: Callable[[str], None] = lambda _model: None
    ) -> None:
        self._loader = loader
        self._budget = budget
        self._on_evicted = on_evicted
        self._clock = count()
        self._used: dict[str, int] = {}  # model -> when a sample last had it
        self._asked: WeakSet[Sample] = WeakSet()  # those whose model was asked for

    def check(self, model: str) -> None:
        """Refuse a model that alone is more than the budget.

        Raises:
            ModelUnavailable: with both figures.
        """
        if self._budget is not None and self._loader.bytes_of(model) > self._budget:
            need = self._loader.bytes_of(model)
            raise ModelUnavailable(
                f"model {model} needs {need:,} bytes for its weights; the budget for models is {self._budget:,}"
            )

    def fits(self, model: str) -> bool:
        """Whether there is room for it beside all that is there."""
        if self._budget is None or model in self._loader.held():
            return True
        return sum(self._loader.held().values()) + self._loader.bytes_of(model) <= self._budget

    def request(self, sample: Sample) -> None:
        """A sample came in; without a budget its models are loaded at once."""
        for model in sample.models:
            self.check(model)
            if self._budget is None:
                self._loader.request(model)

    def admissible(self, waiting: Sequence[Sample], running: Iterable[Sample]) -> Sequence[Sample]:
        """Those of the waiting that may go on, once what they need is loaded."""
        if self._budget is None:
            return waiting
        in_use = {model for sample in running for model in sample.models}
        for model in in_use:
            self._used[model] = next(self._clock)
        self._trim(in_use | {model for sample in waiting for model in sample.models})
        may: list[Sample] = []
        ahead: set[str] = set()  # models of those who may go on
        leaving: set[str] = set()  # models that go, or can't come yet, for the sake of a sample ahead
        for sample in waiting:
            needs = set(sample.models)
            if needs & leaving or (leaving and needs - self._loader.held().keys()):
                continue
            missing = self._missing(sample)
            victims = self._victims(missing, in_use=in_use, keep=ahead | needs)
            if victims is None or any(victim in in_use for victim in victims):
                leaving |= {*missing, *(victims or ())}
                continue
            for victim in victims:
                self._evict(victim)
            for model in missing:
                self._loader.request(model)
            self._asked.add(sample)
            ahead |= needs
            may.append(sample)
        return may

    def _missing(self, sample: Sample) -> list[str]:
        """The sample's models to load; one that failed to load after the sample asked for it is not tried again."""
        held = self._loader.held()
        absent = [model for model in sample.models if model not in held]
        return [model for model in absent if not (sample in self._asked and self._loader.failed(model))]

    def _victims(self, missing: Collection[str], *, in_use: set[str], keep: set[str]) -> list[str] | None:
        """What must leave, idle ones before busy ones; None where all of that would not be enough."""
        held = self._loader.held()
        assert self._budget is not None, "only a budget makes models leave"
        short = sum(held.values()) + sum(map(self._loader.bytes_of, missing)) - self._budget
        if not missing:
            return []
        candidates = [model for model in self._loader.loaded() if model not in keep]
        victims: list[str] = []
        for model in sorted(candidates, key=lambda model: (model in in_use, self._used.get(model, -1))):
            if short <= 0:
                break
            victims.append(model)
            short -= held[model]
        return victims if short <= 0 else None

    def _trim(self, needed: set[str]) -> None:
        """Weights may turn out larger than they looked on disk."""
        assert self._budget is not None, "only a budget makes models leave"
        idle = [model for model in self._loader.loaded() if model not in needed]
        for model in sorted(idle, key=lambda model: self._used.get(model, -1)):
            if sum(self._loader.held().values()) <= self._budget:
                return
            self._evict(model)

    def _evict(self, model: str) -> None:
        self._loader.evict(model)
        self._on_evicted(model)
        free_memory()  # a pipeline's parts refer to one another, so they wait for the collector
