"""Loads models beside the device thread, so that one model's loading never stops another's steps.

Models are loaded one at a time, when somebody asks or at first use, and stay until they are evicted. Each load has a
thread that ends with it: a thread that once ran PyTorch's CPU code keeps its OpenMP team, and with more team threads
than cores libgomp stops spinning at barriers, which made every later step of the device thread 2.6 times slower. Knows
nothing of samples.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType

import torch

from darkroom.errors import DarkroomError, ModelUnavailable, UnknownModel
from darkroom.logs import get_logger
from engine.device import choose_dtype
from engine.failures import frames
from engine.families.family import Family
from engine.families.sd import StableDiffusion
from engine.families.sdxl import StableDiffusionXL
from engine.memory import place
from engine.pipelines import PipelineSpec
from engine.weights import bytes_in_memory, bytes_once_loaded, networks

log = get_logger(__name__)

FAMILIES: Mapping[str, Callable[[PipelineSpec, torch.device, torch.dtype], Family]] = MappingProxyType(
    {"sd": StableDiffusion.load, "sdxl": StableDiffusionXL.load}
)


@dataclass(frozen=True)
class Arrival:
    """A model that was loaded."""

    spec: PipelineSpec
    weights: int  # bytes
    tier: str


class Loader:
    """The models of one engine, loaded or not yet."""

    def __init__(
        self,
        specs: Mapping[str, PipelineSpec],
        *,
        device: torch.device,
        dtype: str,
        on_change: Callable[[], None],
        compile_unet: bool = False,
    ) -> None:
        self._specs = dict(specs)
        self._device = device
        self._dtype = dtype
        self._on_change = on_change
        self._compile_unet = compile_unet
        self._arrived: deque[Arrival] = deque()
        self._bytes: dict[str, int] = {}  # of weights: as on disk, then as loaded
        self._lock = threading.Lock()
        self._loads: dict[str, Future[Family]] = {}
        self._turn = threading.Lock()  # held by the one that loads
        self._closed = False

    def request(self, model: str) -> Future[Family]:
        """Start loading a model, unless it is loaded or on its way. A load that failed is tried again."""
        if model not in self._specs:
            raise UnknownModel
        with self._lock:
            load = self._loads.get(model)
            if load is None or (load.done() and not _succeeded(load)):
                load = self._loads[model] = Future()
                load.add_done_callback(lambda _: self._on_change())
                threading.Thread(
                    target=self._run, args=(load, self._specs[model]), name=f"engine-loader-{model}", daemon=True
                ).start()
            return load

    def add(self, spec: PipelineSpec) -> None:
        """Know one model more. One of the same name stays as it is, loaded or not."""
        self._specs.setdefault(spec.name, spec)

    def ready(self, model: str) -> Family | None:
        """The model, or None while it loads.

        Raises:
            ModelUnavailable: when its last load failed.
        """
        load = self._loads[model]
        if not load.done():
            return None
        if load.exception() is not None:
            raise ModelUnavailable(str(load.exception()))
        return load.result()

    def loaded(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(name for name, load in self._loads.items() if _succeeded(load))

    def failed(self, model: str) -> bool:
        """Whether its last load ended without a model."""
        load = self._loads.get(model)
        return load is not None and load.done() and not _succeeded(load)

    def held(self) -> Mapping[str, int]:
        """The models in memory or on their way there, with the bytes of their weights."""
        with self._lock:
            names = [name for name, load in self._loads.items() if not load.done() or _succeeded(load)]
        return {name: self.bytes_of(name) for name in names}

    def bytes_of(self, model: str) -> int:
        """What its weights take; from their files, as long as it was never loaded.

        Raises:
            UnknownModel: when there is no such model.
        """
        if model not in self._specs:
            raise UnknownModel
        if model not in self._bytes:
            spec = self._specs[model]
            self._bytes[model] = bytes_once_loaded(spec, self._dtype_of(spec))
        return self._bytes[model]

    def evict(self, model: str) -> None:
        """Let go of a loaded model; its memory is free once nobody else holds it."""
        with self._lock:
            assert _succeeded(self._loads[model]), "only a loaded model can leave"
            del self._loads[model]
        log.info("model_evicted", model=model, bytes=self._bytes[model])

    def arrivals(self) -> Iterator[Arrival]:
        """The models that were loaded since this was last asked, each once; not those that have left already."""
        while self._arrived:
            arrival = self._arrived.popleft()
            if arrival.spec.name in self.loaded():
                yield arrival

    def close(self) -> None:
        """Wait for the load under way; those behind it are cancelled."""
        self._closed = True
        with self._turn:
            pass

    def _run(self, load: Future[Family], spec: PipelineSpec) -> None:
        with self._turn:
            if self._closed:
                load.cancel()
                return
            load.set_running_or_notify_cancel()
            try:
                family, tier = self._load(spec)
            except BaseException as error:  # noqa: BLE001 - whoever waits for the model is told
                load.set_exception(error)
            else:
                load.set_result(family)
                self._arrived.append(Arrival(spec, self._bytes[spec.name], tier))
                self._on_change()

    def _load(self, spec: PipelineSpec) -> tuple[Family, str]:
        dtype = self._dtype_of(spec)
        try:
            family = FAMILIES[spec.family](spec, self._device, dtype)
            tier = place(family.pipeline, spec.memory, self._device)
        except DarkroomError:
            raise
        except Exception as error:  # a loader meets files of every kind, and fails in as many ways
            log.error("model_load_failed", model=spec.name, error=type(error).__name__, frames=frames(error))  # noqa: TRY400
            raise ModelUnavailable(f"model {spec.name} could not be loaded: {type(error).__name__}") from error
        if self._compile_unet:
            family.pipeline.unet.compile()  # it is built at the first forward of each shape
        weights = self._bytes[spec.name] = bytes_in_memory(*networks(family.pipeline).values())
        log.info(
            "model_loaded", model=spec.name, device=str(self._device), dtype=str(dtype), memory=tier, bytes=weights
        )
        return family, tier

    def _dtype_of(self, spec: PipelineSpec) -> torch.dtype:
        return choose_dtype(self._dtype if spec.dtype == "auto" else spec.dtype, self._device)


def _succeeded(load: Future[Family]) -> bool:
    return load.done() and not load.cancelled() and load.exception() is None
