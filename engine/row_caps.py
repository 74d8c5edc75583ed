"""How many rows one forward takes, by group: the operator's bound, what a profile found, what the memory has shown.

A forward that does not fit halves its group's cap at once. The cap comes back a row at a time, each after many full
forwards: a cap that is too low only costs speed, one that is too high a failed forward. Where the cap fails again at
the same place, it goes back to what did fit and waits twice as long. Knows nothing of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.samples import GroupKey

SMALLEST_CAP = 2  # a guided sample's two rows never split across forwards
PATIENCE = 200  # full forwards before a lowered cap is tried one row higher


@dataclass
class _Cap:
    rows: int  # that one forward takes now
    limit: int  # that it takes once the memory allows
    patience: int
    fitted: int = 0  # rows of the largest forward since the cap was lowered
    full: int = 0  # full forwards since the cap last moved


def _nobody(_model: str, _size: str, _rows: int) -> None: ...


class RowCaps:
    """The caps of one engine's groups."""

    def __init__(
        self, max_rows: int, *, patience: int = PATIENCE, on_change: Callable[[str, str, int], None] = _nobody
    ) -> None:
        if max_rows < SMALLEST_CAP:
            raise ValueError(f"max_rows must be at least {SMALLEST_CAP}, for one guided sample")
        self.max_rows = max_rows
        self._patience = patience
        self._on_change = on_change
        self._caps: dict[GroupKey, _Cap] = {}
        self._sizes: dict[GroupKey, str] = {}

    def of(self, key: GroupKey) -> int:
        cap = self._caps.get(key)
        return self.max_rows if cap is None else cap.rows

    def size(self, key: GroupKey, size: str) -> None:
        """Note what a group's images are called by people: "512x512"."""
        self._sizes[key] = size

    def by_size(self) -> Mapping[tuple[str, str], int]:
        """The known caps, by model and size."""
        return {(key[0], self._sizes.get(key, "")): rows for key, rows in self.known().items()}

    def known(self) -> Mapping[GroupKey, int]:
        """The caps that a profile or the memory has set."""
        return {key: cap.rows for key, cap in tuple(self._caps.items())}

    def limit(self, key: GroupKey, rows: int) -> None:
        """Set what a profile found best."""
        limit = min(max(rows, SMALLEST_CAP), self.max_rows)
        self._caps[key] = _Cap(rows=limit, limit=limit, patience=self._patience)
        self._changed(key)

    def shrink(self, key: GroupKey, rows: int) -> None:
        """Note that a forward of so many rows did not fit the device's memory."""
        cap = self._caps.setdefault(key, _Cap(self.max_rows, self.max_rows, self._patience))
        if 0 < cap.fitted < rows:  # it had come back too far
            lower, cap.patience = cap.fitted, 2 * cap.patience
        else:
            lower = rows // 2
        cap.rows = min(cap.rows, max(lower, SMALLEST_CAP))
        cap.fitted = cap.full = 0
        self._changed(key)

    def fitted(self, key: GroupKey, rows: int) -> None:
        """Note that a forward of so many rows went well."""
        cap = self._caps.get(key)
        if cap is None or cap.rows >= cap.limit or rows > cap.rows:
            return
        cap.fitted = max(cap.fitted, rows)
        if rows < cap.rows - 1:  # one row may stay free where all samples take two
            return
        cap.full += 1
        if cap.full >= cap.patience:
            cap.rows, cap.full = cap.rows + 1, 0
            self._changed(key)

    def _changed(self, key: GroupKey) -> None:
        self._on_change(key[0], self._sizes.get(key, ""), self._caps[key].rows)
