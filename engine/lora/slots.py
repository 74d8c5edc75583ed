"""One model's resident LoRAs: which are in memory, who uses them, and which one leaves when another needs its place.

Reading a file happens on a thread that lives for that file alone; the device thread only puts what was read into the
layers, between two forwards. A sample holds its adapters, all of them or none, from before they are loaded until it
ends, so that one in use is never taken away and two samples can't wait for each other. Apart from the reading, all of
it is the device thread's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from darkroom.errors import DarkroomError, UnknownAdapter
from darkroom.logs import get_logger
from engine.failures import as_failure
from engine.lora.file import Adapter, AdapterFile, read_adapter
from engine.lora.layer import LoraLayer, RowTable, Uses
from engine.lora.targets import Place, Targets

log = get_logger(__name__)


@dataclass(eq=False)
class _Slot:
    """One resident adapter, or one on its way."""

    number: int
    load: Future[Adapter] = field(default_factory=Future)
    placed: bool = False  # its deltas are in the layers
    users: int = 0

    @property
    def failed(self) -> bool:
        return self.load.cancelled() or (self.load.done() and self.load.exception() is not None)


class AdapterSlots:
    """The adapters of one loaded model."""

    def __init__(
        self,
        files: Mapping[str, AdapterFile],
        networks: Mapping[str, torch.nn.Module],
        *,
        device: torch.device,
        capacity: int,
        on_change: Callable[[], None],
    ) -> None:
        self.capacity = capacity
        self._files = files
        self._targets = Targets(networks)
        self._device = device
        self._on_change = on_change
        self._table = RowTable()
        self._layers: dict[Place, LoraLayer] = {}
        self._slots: OrderedDict[str, _Slot] = OrderedDict()  # the one not used for longest comes first
        self._held: dict[Hashable, tuple[str, ...]] = {}
        self._queue: deque[Hashable] = deque()  # holders-to-be, first come, first served
        self._turn = threading.Lock()  # held by the thread that reads
        self._closed = False

    def acquire(self, holder: Hashable, names: Sequence[str]) -> bool:
        """Whether the holder has a place for each of these adapters; those that are not resident begin to load.

        Either all of them get a place or none does. A place is taken from whoever was not used for longest, never from
        one in use; where there is none, holders wait in the order in which they came.

        Raises:
            UnknownAdapter: when there is no such adapter for this model.
        """
        if holder in self._held:
            return True
        wanted = tuple(dict.fromkeys(names))
        if not self._files.keys() >= set(wanted):
            raise UnknownAdapter
        if holder not in self._queue:
            self._queue.append(holder)
        if self._queue[0] is not holder or not self._make_room(wanted):
            return False
        self._queue.popleft()
        self._held[holder] = wanted
        for name in wanted:
            if name not in self._slots:
                self._load(name)
            self._slots[name].users += 1
            self._slots.move_to_end(name)
        return True

    def release(self, holder: Hashable) -> None:
        """Let go of all that it holds; the adapters stay resident until somebody needs their place."""
        if holder in self._queue:
            self._queue.remove(holder)
        for name in self._held.pop(holder, ()):
            slot = self._slots[name]
            slot.users -= 1
            if not slot.users and slot.failed:
                self.eject(name)  # the next one to ask reads the file anew

    def ready(self, holder: Hashable) -> bool:
        """Whether all that it holds is in place; puts there what was read since.

        Raises:
            AdapterInvalid: (or AdapterMismatch) when a file can't be used.
        """
        slots = [self._slots[name] for name in self._held[holder]]
        if not all(slot.load.done() for slot in slots):
            return False
        for slot in slots:
            self._place(slot, slot.load.result())
        return True

    def uses(self, scales: Sequence[tuple[str, float]]) -> Uses:
        """The (slot, scale) pairs of somebody who holds these adapters."""
        return tuple((self._slots[name].number, scale) for name, scale in scales)

    def parts(self, name: str) -> frozenset[str]:
        """The networks that an adapter in place changes."""
        return self._slots[name].load.result().parts

    def each_row(self, rows: Sequence[Uses]) -> AbstractContextManager[None]:
        """For one forward, in which row i uses `rows[i]`.

        Raises:
            UnknownAdapter: when a row names a slot that holds no adapter.
        """
        self._check(rows)
        return self._table.each(rows)

    def every_row(self, uses: Uses) -> AbstractContextManager[None]:
        """For forwards in which all rows use the same.

        Raises:
            UnknownAdapter: when a slot holds no adapter.
        """
        self._check([uses])
        return self._table.every(uses)

    def eject(self, name: str) -> None:
        """Take an adapter out of the model, which is then as if it had never been there."""
        slot = self._slots[name]
        assert not slot.users, "an adapter in use stays"
        del self._slots[name]
        slot.load.cancel()  # where its file still waits to be read
        if slot.placed:
            for place in slot.load.result().deltas:
                self._layers[place].drop(slot.number)
        log.info("adapter_ejected", adapter=name)

    def resident(self) -> tuple[str, ...]:
        """The adapters in place, the one not used for longest first."""
        return tuple(name for name, slot in tuple(self._slots.items()) if slot.placed)

    def close(self) -> None:
        """Wait for the file under way; those behind it are not read."""
        self._closed = True
        with self._turn:
            pass

    def _make_room(self, wanted: Sequence[str]) -> bool:
        """Eject as many idle adapters as these need, if that is enough."""
        missing = [name for name in wanted if name not in self._slots]
        idle = [name for name, slot in self._slots.items() if not slot.users and name not in wanted]
        short = max(len(self._slots) + len(missing) - self.capacity, 0)
        if short > len(idle):
            return False
        for name in idle[:short]:
            self.eject(name)
        return True

    def _check(self, rows: Sequence[Uses]) -> None:
        named = {number for uses in rows for number, _ in uses}
        if named and not named <= {slot.number for slot in self._slots.values() if slot.placed}:
            raise UnknownAdapter("a row names a slot that holds no adapter")

    def _place(self, slot: _Slot, adapter: Adapter) -> None:
        if slot.placed:
            return
        for place, delta in adapter.deltas.items():
            if place not in self._layers:
                self._layers[place] = LoraLayer(self._targets.layers[place], self._table)
            self._layers[place].put(slot.number, delta)
        slot.placed = True

    def _load(self, name: str) -> None:
        taken = {slot.number for slot in self._slots.values()}
        slot = self._slots[name] = _Slot(next(number for number in range(self.capacity) if number not in taken))
        slot.load.add_done_callback(lambda _: self._on_change())
        # A thread of its own that ends with the file, as for models: see engine/loader.py.
        thread = threading.Thread(
            target=self._read, args=(self._files[name], slot.load), name=f"engine-adapter-{name}", daemon=True
        )
        thread.start()

    def _read(self, file: AdapterFile, load: Future[Adapter]) -> None:
        with self._turn:
            if self._closed:
                load.cancel()
            if not load.set_running_or_notify_cancel():
                return
            try:
                adapter = read_adapter(file, self._targets, self._device)
            except DarkroomError as error:
                log.warning("adapter_refused", adapter=file.name, reason=error.detail)
                load.set_exception(error)
            except Exception as error:  # noqa: BLE001 - whoever waits for it is told
                load.set_exception(as_failure(error))
            else:
                log.info("adapter_loaded", adapter=file.name, bytes=adapter.weight_bytes, parts=sorted(adapter.parts))
                load.set_result(adapter)
