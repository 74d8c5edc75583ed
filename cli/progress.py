"""Shows where a job is: its place in the queue, then its steps. On a terminal as a bar, elsewhere line by line."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class JobProgress:
    """The display of one job, on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("submitting", total=None)
        self._said = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, job: Mapping[str, Any]) -> None:
        """Bring the display to the job's present state."""
        state = _state(job)
        steps = job["progress"]["steps"] or None
        self._bar.update(self._task, description=state, completed=job["progress"]["step"], total=steps)
        if not self._console.is_terminal and state != self._said:
            self.note(state)
        self._said = state

    def note(self, sentence: str) -> None:
        self._console.print(escape(sentence), highlight=False, soft_wrap=True)


def _state(job: Mapping[str, Any]) -> str:
    status = str(job["status"])
    if status != "queued":
        return status.replace("_", " ")
    place = f", place {job['queue_position']}" if job["queue_position"] else ""
    eta = f", about {job['eta_seconds']:.0f} s" if job["eta_seconds"] else ""
    return f"queued{place}{eta}"
