"""Which running samples share the next forward.

Samples of one group (model, and what its family wants equal) are batched; groups take turns, so that no group waits
longer than one forward of each other group. Within a group that does not fit one forward, samples take turns too. Knows
nothing of the networks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from engine.row_caps import RowCaps
from engine.samples import GroupKey, Sample


class Groups:
    """The running samples. One forward takes at most as many rows as its group's cap says, or a single sample's."""

    def __init__(self, caps: RowCaps) -> None:
        self._caps = caps
        self.rows = 0  # kept as numbers, because other threads read them
        self.samples = 0
        self._members: OrderedDict[GroupKey, deque[Sample]] = OrderedDict()  # the group whose turn it is comes first

    def __iter__(self) -> Iterator[Sample]:
        return (sample for members in self._members.values() for sample in members)

    def has_room(self, key: GroupKey, rows: int) -> bool:
        """Whether a sample of so many rows may join; one that is more than the whole cap runs by itself."""
        taken = sum(sample.tensors.rows for sample in self._members.get(key, ()))
        return not taken or taken + rows <= self._caps.of(key)

    def add(self, sample: Sample) -> None:
        self._members.setdefault(sample.key, deque()).append(sample)
        self.count()

    def remove(self, sample: Sample) -> None:
        members = self._members[sample.key]
        members.remove(sample)
        if not members:
            del self._members[sample.key]
        self.count()

    def count(self) -> None:
        """Look again how much is in: a sample whose guidance stops goes on with fewer rows."""
        running = list(self)
        self.rows, self.samples = sum(sample.tensors.rows for sample in running), len(running)

    def next(self) -> list[Sample]:
        """The samples of the next forward; empty when none runs."""
        if not self._members:
            return []
        key, members = next(iter(self._members.items()))
        self._members.move_to_end(key)
        chosen: list[Sample] = []
        room = self._caps.of(key)
        for sample in members:
            room -= sample.tensors.rows
            if room < 0 and chosen:
                break
            chosen.append(sample)
        members.rotate(-len(chosen))
        return chosen
