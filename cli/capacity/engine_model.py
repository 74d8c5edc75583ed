"""One worker in simulated time: it claims while its engine has rows, and its engine steps whoever is in.

What is kept of the real one: samples join and leave between two steps, one forward takes at most `max_rows` rows of one
size, sizes take turns, decoding goes on beside the steps, and a claimed job holds no rows until it reaches the engine,
so that a worker with many places claims a little more than fits. Left out: adapters, several models, faults.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from cli.capacity.demand import Kind
from cli.capacity.profile import EngineProfile

POLL_SECONDS = 0.02  # a place whose worker is full looks again for rows after so long
Course = Generator[simpy.Event, Any, None]


@dataclass
class SimulatedJob:
    """Its times are those of the simulation, in seconds."""

    kind: Kind
    created: float
    claimed: float = math.nan
    finished: float = math.nan


@dataclass
class _Sample:
    """One image; `done` is the event of its pixels."""

    kind: Kind
    steps_left: int
    decode_left: float
    done: simpy.Event


@dataclass
class SimulatedWorker:
    """One process with one engine. Jobs come from `queue`, which all workers of a pool share."""

    clock: simpy.Environment
    profile: EngineProfile
    queue: deque[SimulatedJob]
    generator: random.Random
    busy_seconds: float = 0.0
    in_hand: int = 0
    _waiting: deque[_Sample] = field(default_factory=deque)
    _running: dict[int, list[_Sample]] = field(default_factory=dict)  # by pixels: what shares a forward
    _denoised: deque[_Sample] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._arrived = self.clock.event()  # a sample for the engine
        self._room = self.clock.event()  # something for a free place to look at
        self.clock.process(self._engine())
        self.clock.process(self._claims())

    def has_room(self) -> bool:
        return self.in_hand < self.profile.places and self._capacity() > 0

    def look(self) -> None:
        """Wake the places: there is a job, or there are rows."""
        if not self._room.triggered:
            self._room.succeed()

    def _capacity(self) -> int:
        taken = sum(sample.kind.rows for samples in self._running.values() for sample in samples)
        return self.profile.max_rows - taken - sum(sample.kind.rows for sample in self._waiting)

    def _claims(self) -> Course:
        while True:
            while not (self.queue and self.has_room()):
                yield self._room
                self._room = self.clock.event()
            free = self.profile.places - self.in_hand
            looks = self.clock.now + self.generator.expovariate(free / POLL_SECONDS)
            on_its_way = self.queue[0].created + self.profile.ticket_seconds
            yield self.clock.timeout(max(looks, on_its_way) - self.clock.now)
            if self.queue and self.has_room():
                self.clock.process(self._carry(self.queue.popleft()))

    def _carry(self, job: SimulatedJob) -> Course:
        job.claimed = self.clock.now
        self.in_hand += 1
        yield self.clock.timeout(self.profile.claim_seconds)
        samples = [self._sample(job.kind) for _ in range(job.kind.images)]
        self._waiting.extend(samples)
        if not self._arrived.triggered:
            self._arrived.succeed()
        yield self.clock.all_of([sample.done for sample in samples])
        yield self.clock.timeout(self.profile.finish_seconds)
        job.finished = self.clock.now
        self.in_hand -= 1
        self.look()

    def _sample(self, kind: Kind) -> _Sample:
        return _Sample(kind, kind.steps, self.profile.image(kind.pixels), self.clock.event())

    def _engine(self) -> Course:
        while True:
            self._admit()
            if not self._running and not self._denoised:
                yield self._arrived
                self._arrived = self.clock.event()
                continue
            began = self.clock.now
            if self._denoised:
                yield from self._decode_and_step()
            else:
                yield from self._steps()
            self.busy_seconds += self.clock.now - began

    def _admit(self) -> None:
        """First come, first served within a size."""
        for sample in tuple(self._waiting):
            members = self._running.get(sample.kind.pixels, [])
            taken = sum(member.kind.rows for member in members)
            if not taken or taken + sample.kind.rows <= self.profile.max_rows:
                self._waiting.remove(sample)
                self._running.setdefault(sample.kind.pixels, members).append(sample)

    def _round(self) -> float:
        """Seconds in which each sample takes one step: one forward for each size."""
        return sum(
            self.profile.forward(sum(sample.kind.rows for sample in samples), pixels)
            for pixels, samples in self._running.items()
        )

    def _steps(self) -> Course:
        """Step until somebody is done, or to the end of the step in which somebody new arrives."""
        one = self._round()
        count = min(sample.steps_left for samples in self._running.values() for sample in samples)
        began = self.clock.now
        yield self.clock.timeout(one * count) | self._arrived
        if self._arrived.triggered:
            self._arrived = self.clock.event()
            count = min(max(math.ceil((self.clock.now - began) / one - 1e-9), 1), count)
            yield self.clock.timeout(max(began + one * count - self.clock.now, 0.0))
        self._advance(count)

    def _decode_and_step(self) -> Course:
        """About as much of a decode as one step takes, then that step; all of the decode where nobody steps."""
        one = self._round()
        first = self._denoised[0]
        piece = min(first.decode_left, one) if self._running else first.decode_left
        yield self.clock.timeout(piece)
        first.decode_left -= piece
        if first.decode_left <= 1e-12:
            self._denoised.popleft()
            first.done.succeed()
        if self._running:
            yield self.clock.timeout(one)
            self._advance(1)

    def _advance(self, count: int) -> None:
        for pixels, samples in tuple(self._running.items()):
            for sample in tuple(samples):
                sample.steps_left -= count
                if sample.steps_left <= 0:
                    samples.remove(sample)
                    self._denoised.append(sample)
            if not samples:
                del self._running[pixels]
        self.look()
