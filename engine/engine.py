"""Turns image requests into images: step-level continuous batching on one device.

One thread owns the device. Each tick it drops who gave up, admits who waits, runs one forward over one group's rows,
lets every sample take its own scheduler step, and goes on with decoding a finished image; so samples join and leave
between any two steps. Knows nothing of queues or storage; the caller supplies `on_step` and an observer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Self, TypeVar

import numpy as np
import torch

from darkroom.errors import DeadlineExceeded, EngineStopped, Fatal, GenerationCancelled
from darkroom.logs import get_logger
from engine.batch import predict
from engine.buckets import compiled_where_plain, forward_as_is
from engine.decode import Turn, go_on
from engine.decode_together import decode_together
from engine.device import choose_device
from engine.failures import again, as_failure, frames, raise_if_fatal
from engine.families.family import Family
from engine.groups import Groups
from engine.handle import EngineHandle, EngineStats
from engine.host_memory import keep_freed_memory
from engine.loader import Loader
from engine.lora.adapters import Adapters
from engine.lora.file import AdapterFile
from engine.observer import EngineObserver, SilentObserver
from engine.pipelines import PipelineSpec
from engine.profile import Profiles
from engine.residency import Residency
from engine.row_caps import RowCaps
from engine.samples import GroupKey, ImageRequest, OnPreview, OnStep, Sample, SampleState
from engine.schedulers import check_steps
from engine.text import Embedding, EmbeddingCache

log = get_logger(__name__)
_T = TypeVar("_T")


class Engine:
    """The models of one process, and the samples that they are working on."""

    def __init__(
        self,
        pipelines: Mapping[str, PipelineSpec],
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_rows: int = 16,
        observer: EngineObserver | None = None,
        keep_latents: bool = False,
        adapters: Mapping[str, AdapterFile] | None = None,
        adapter_slots: int = 16,
        models_budget_bytes: int | None = None,
        profile_seconds: float = 0.0,
        compile_unet: bool = False,
    ) -> None:
        """A stopped engine on one device.

        Args:
            max_rows: the operator's bound; a profile or a full memory lowers it for the groups that it bears on.
            models_budget_bytes: for the weights of all models; beyond it, the least recently used one leaves.
            profile_seconds: how long to measure the best row count of each of a model's `sizes`; 0 measures nothing.
            compile_unet: compile the UNets, with the rows of a forward padded to few different counts.
        """
        self.device = choose_device(device)
        self.fault: Fatal | None = None  # why the device thread ended, where nobody asked it to
        self._wake = threading.Event()
        self._observer = observer or SilentObserver()
        self._loader = Loader(
            pipelines, device=self.device, dtype=dtype, on_change=self._wake.set, compile_unet=compile_unet
        )
        self._residency = Residency(self._loader, budget=models_budget_bytes, on_evicted=self._evicted)
        self._forward = compiled_where_plain if compile_unet else forward_as_is
        self._keep_latents = keep_latents
        self._adapters = Adapters(adapters or {}, device=self.device, capacity=adapter_slots, on_change=self._wake.set)
        self._embeddings = EmbeddingCache(on_lookup=self._observer.embedding_cache)
        self._door = threading.Lock()  # guards `_inbox` and `_closed`: no sample slips in behind the last one
        self._inbox: deque[Sample] = deque()
        self._closed = False
        self._stopping = False
        self._waiting: deque[Sample] = deque()  # from here on the device thread's alone
        self._caps = RowCaps(max_rows, on_change=self._observer.row_cap)
        self._groups = Groups(self._caps)
        self._profiles = Profiles(self._caps, seconds=profile_seconds, device=self.device)
        self._denoised: deque[Sample] = deque()
        self._steps = 0
        self._step_seconds = 0.0  # of the last one
        self._last_step_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way; what is not finished fails with EngineStopped."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close(EngineStopped())
        self._loader.close()
        self._adapters.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self, pipeline: PipelineSpec) -> None:
        """Take one model more, which is loaded when somebody asks or at first use; any thread but the device's may."""
        self._loader.add(pipeline)

    def load(self, model: str) -> None:
        """Load a model now and wait for it; any thread but the device's may call.

        Raises:
            UnknownModel: when the engine was not given such a model.
            ModelUnavailable: when it can't be loaded.
        """
        self._loader.request(model).result()

    def preload(self, models: Sequence[str]) -> tuple[str, ...]:
        """Load, in this order, those that fit the budget together, and wait for them; gives their names.

        Raises:
            ModelUnavailable: when one can't be loaded, or is more than the whole budget.
        """
        loaded = []
        for model in models:
            self._residency.check(model)
            if self._residency.fits(model):
                self.load(model)
                loaded.append(model)
        return tuple(loaded)

    def submit(
        self,
        model: str,
        request: ImageRequest,
        *,
        on_step: OnStep | None = None,
        on_preview: OnPreview | None = None,
    ) -> EngineHandle:
        """Hand in one image. A model that is not loaded yet is loaded first, beside the others' steps.

        Args:
            on_step: told (steps done, steps in all) on the device thread; an error in it fails this image.
            on_preview: given (steps done, small picture) every `preview_every` steps, in the same way.

        Raises:
            UnknownModel: when the engine was not given such a model.
            ModelUnavailable: when it alone is more than the budget for models.
            InvalidParams: when the scheduler, its number of steps, the guidance or a scale is not valid.
            UnknownAdapter: (or AdapterMismatch) when this model has no such adapter.
            EngineStopped: (or DeviceLost) when the engine takes nothing in any more.
        """
        check_steps(request.scheduler, request.num_inference_steps)
        request.guidance.check()
        if request.safe_guidance is not None:
            request.safe_guidance.check()
        self._adapters.check(model, request.adapters)
        sample = Sample(model, request, on_step, on_preview)
        with self._door:
            if self._closed:
                raise again(self.fault or EngineStopped())
            self._residency.request(sample)
            self._inbox.append(sample)
        self._wake.set()
        return EngineHandle(sample, self._wake.set)

    @property
    def busy(self) -> bool:
        """Whether steps are due: if `last_step_at` stands still while busy, something hangs."""
        return self._groups.samples + len(self._denoised) + len(self._profiles) > 0

    @property
    def last_step_at(self) -> float:
        """When the device thread last finished or took up a piece of work, in time.monotonic() seconds."""
        return self._last_step_at

    def capacity(self) -> int:
        """Rows that one forward has left, those who wait counted as guided."""
        waiting = sum(sample.request.most_rows for sample in (*self._inbox, *self._waiting))
        return max(self._caps.max_rows - self._groups.rows - waiting, 0)

    def stats(self) -> EngineStats:
        return EngineStats(
            waiting=len(self._inbox) + len(self._waiting),
            running=self._groups.samples,
            rows=self._groups.rows,
            denoised=len(self._denoised),
            max_rows=self._caps.max_rows,
            steps=self._steps,
            embedding_hits=self._embeddings.hits,
            embedding_misses=self._embeddings.misses,
            models=self._loader.loaded(),
            model_bytes=sum(self._loader.held().values()),
            row_caps=self._caps.by_size(),
            adapters=self._adapters.resident(),
            last_step_at=self._last_step_at,
        )

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while not self._stopping:
                    self._tick()
                    self._rest()
        except Fatal as fault:
            self.fault = fault
        except Exception as error:  # noqa: BLE001 - a fault of ours ends the process, never the thread in silence
            self.fault = EngineStopped(f"the engine's loop failed: {type(error).__name__}")
            self.fault.__cause__ = error
        if self.fault is not None:
            log.error("engine_failed", reason=self.fault.detail, frames=frames(self.fault.__cause__ or self.fault))
        self._close(self.fault or EngineStopped())

    def _tick(self) -> None:
        self._drop()
        self._welcome()
        self._admit()
        if self._profiles:
            self._profiles.measure()
            self._last_step_at = time.monotonic()
        if group := self._groups.next():
            self._step(group)
        if self._denoised:
            self._decode_next()

    def _drop(self) -> None:
        """Retire the cancelled and the overdue, wherever they are."""
        while self._inbox:
            self._waiting.append(self._inbox.popleft())
        now = time.monotonic()
        for sample in [*self._waiting, *self._groups, *self._denoised]:
            if sample.cancelled:
                self._fail(sample, GenerationCancelled())
            elif sample.overdue(now):
                self._fail(sample, DeadlineExceeded())

    def _welcome(self) -> None:
        """Take note of the models that were loaded."""
        for arrival in self._loader.arrivals():
            spec = arrival.spec
            self._observer.model_loaded(spec.name, weights=arrival.weights, tier=arrival.tier)
            self._profiles.add(spec.name, self._family(spec.name), spec.sizes)

    def _evicted(self, model: str) -> None:
        self._profiles.drop(model)
        self._observer.model_evicted(model)

    def _admit(self) -> None:
        """Give rows to those who wait; first come, first served within a group."""
        if len(self._denoised) >= self._caps.max_rows:
            return  # the VAE is behind; who joins now would only wait for it later
        full: set[GroupKey] = set()
        running = (*self._groups, *self._denoised)
        for sample in self._residency.admissible(tuple(self._waiting), running):
            family = self._alone(sample, partial(self._loaded, sample))
            if family is None or not self._alone(sample, partial(self._adapters.ready, sample, family)):
                continue
            if self._alone(sample, partial(self._place, sample, family)) in {None, *full}:
                continue
            if self._groups.has_room(sample.key, family.rows(sample.request)):
                with self._charged(sample):
                    self._alone(sample, partial(self._begin, sample, family))
                if sample.request.init_image is not None:
                    break  # it went through the VAE, and those who run are not to wait for another one
            else:
                full.add(sample.key)

    def _loaded(self, sample: Sample) -> Family | None:
        """The sample's model, once all that it needs is loaded."""
        families = [self._loader.ready(model) for model in sample.models]
        return None if None in families else families[0]

    def _place(self, sample: Sample, family: Family) -> GroupKey:
        """The group that a sample belongs to; only its model's family can tell."""
        if sample.group is None:
            sample.group = (sample.model, family.key(sample.request))
            self._caps.size(sample.group, f"{sample.request.width}x{sample.request.height}")
        return sample.group

    def _begin(self, sample: Sample, family: Family) -> None:
        self._last_step_at = sample.admitted_at = time.monotonic()
        sample.denoising = family.prepare(
            sample.request, partial(self._encode, sample, family), unfinished=sample.unfinished
        )
        sample.denoising.adapters = self._adapters.row(sample, family)
        sample.transition(SampleState.RUNNING)
        self._waiting.remove(sample)
        self._groups.add(sample)
        self._observer.admitted(sample.model, sample.admitted_at - sample.submitted_at)

    def _encode(self, sample: Sample, family: Family, prompt: str) -> Embedding:
        encode = partial(self._adapters.encode, sample, family)
        adapters = self._adapters.text_key(sample, family)
        return self._embeddings.get(sample.model, prompt, encode=encode, adapters=adapters)

    def _step(self, group: list[Sample]) -> None:
        started = time.monotonic()
        model, key, parts = group[0].model, group[0].key, [sample.tensors.rows for sample in group]
        rows = sum(parts)
        predictions = predict(
            sorted(group, key=lambda sample: sample.tensors.adapters),  # neighbours with equal adapters share more
            partial(self._forward, partial(self._adapters.denoise, self._family(model))),
            failed=self._fail,
            too_large=partial(self._caps.shrink, key),
        )
        for sample, prediction in predictions:
            self._alone(sample, partial(self._advance, sample, prediction))
        self._caps.fitted(key, rows)
        self._groups.count()
        self._steps += 1
        self._last_step_at = time.monotonic()
        self._step_seconds = self._last_step_at - started
        for sample, part in zip(group, parts, strict=True):
            sample.device_seconds += self._step_seconds * part / rows
        self._observer.step(model, rows=rows, seconds=self._step_seconds, samples=len(group))

    def _advance(self, sample: Sample, prediction: torch.Tensor) -> None:
        tensors = sample.tensors
        steps_before = tensors.steps_done
        tensors.advance(prediction)
        if tensors.steps_done > steps_before:
            self._tell(sample)
        if tensors.done:
            self._groups.remove(sample)
            if sample.to_be_refined:
                sample.hand_over()
                self._waiting.appendleft(sample)
                self._wake.set()  # there may be nobody else to keep the loop going
                return
            sample.transition(SampleState.DENOISED)
            self._denoised.append(sample)

    def _tell(self, sample: Sample) -> None:
        tensors = sample.tensors
        if sample.on_step is not None:
            sample.on_step(tensors.steps_done, tensors.steps_in_all)
        if sample.on_preview is not None and sample.preview_due(tensors.steps_done) and not tensors.done:
            sample.on_preview(tensors.steps_done, self._family(sample.model).preview(tensors.foreseen()))

    def _decode_next(self) -> None:
        first = self._denoised[0]
        if self._groups.samples:
            self._decode(first, Turn.beside(self._step_seconds))
        else:
            decode_together(self._denoised, self._family(first.model).decode)
            self._decode(first, Turn())

    def _decode(self, sample: Sample, turn: Turn) -> None:
        latents = sample.tensors.latents
        with self._charged(sample):
            pixels = self._alone(sample, partial(self._decoded, sample, turn))
        self._last_step_at = time.monotonic()
        if pixels is not None:
            image = sample.finished(pixels, latents=latents.cpu() if self._keep_latents else None)
            self._retire(sample, "succeeded")
            sample.future.set_result(image)

    @contextmanager
    def _charged(self, sample: Sample) -> Iterator[None]:
        """What is done in here is done for this sample alone."""
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        sample.device_seconds += seconds
        self._observer.alone(sample.model, seconds=seconds)

    def _decoded(self, sample: Sample, turn: Turn) -> np.ndarray | None:
        if sample.decoding is None:
            sample.decoding = self._family(sample.model).decode(sample.tensors.latents)
        pixels, image = go_on(sample.decoding, turn), sample.tensors.image
        if pixels is None:
            return None
        return pixels[0] if image is None else image.finish(pixels[0])

    def _family(self, model: str) -> Family:
        family = self._loader.ready(model)
        assert family is not None, "a sample has rows only once its model is loaded"
        return family

    def _rest(self) -> None:
        """Sleep until there is news, or until the first deadline of those who wait for a model."""
        if self.busy:
            return
        deadlines = [sample.request.deadline for sample in self._waiting if sample.request.deadline is not None]
        self._wake.wait(max(min(deadlines) - time.monotonic(), 0) if deadlines else None)
        self._wake.clear()

    def _alone(self, sample: Sample, action: Callable[[], _T]) -> _T | None:
        """Do something for one sample; if it fails, that sample fails and no other."""
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - whatever a network or a callback raises is one sample's
            raise_if_fatal(error)
            self._fail(sample, error)
            return None

    def _fail(self, sample: Sample, error: Exception) -> None:
        failure = as_failure(error)
        self._retire(sample, failure.code)
        sample.future.set_exception(failure)

    def _retire(self, sample: Sample, outcome: str) -> None:
        """Take a sample out, its rows first; the caller then settles its future."""
        leave: Mapping[SampleState, Callable[[Sample], None]] = {
            SampleState.WAITING: self._waiting.remove,
            SampleState.RUNNING: self._groups.remove,
            SampleState.DENOISED: self._denoised.remove,
        }
        leave[sample.state](sample)
        sample.transition(SampleState.RETIRED)
        self._adapters.release(sample)
        sample.denoising = sample.decoding = None  # the caller may keep its handle for long, not the tensors
        self._observer.retired(sample.model, outcome)
        self._wake.set()  # who waits for its model's memory is to be looked at again

    def _close(self, reason: Fatal) -> None:
        """Take nothing in any more, and fail what is left."""
        with self._door:
            self._closed = True
        self._waiting.extend(self._inbox)
        self._inbox.clear()
        for sample in [*self._waiting, *self._groups, *self._denoised]:
            self._fail(sample, again(reason))
