"""`darkroom top`: queues, workers and their batches, live in the terminal; once and as JSON for scripts."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import redis
import typer
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from cli.connection import Data
from cli.console import results
from cli.data_folder import DEFAULT
from cli.stores import redis_of
from darkroom.errors import JobStoreUnavailable
from darkroom.job_store import JobStore
from darkroom.jobs import Tier
from darkroom.queue_control import QueueControl
from darkroom.redis_client import redis_errors
from darkroom.review import REVIEW
from darkroom.settings import JobSettings
from darkroom.worker_registry import WorkerRegistry, WorkerState

WIDE = 120  # characters of a line from which on there is room for more columns
BAR = 12  # characters of a full batch
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Queue:
    """One tier."""

    tier: str
    waiting: int
    running: int
    oldest_seconds: float
    paused: bool
    workers: int


@dataclass(frozen=True)
class Snapshot:
    """The service at one moment."""

    queues: tuple[Queue, ...]
    workers: tuple[WorkerState, ...]
    in_review: int

    @property
    def rows(self) -> int:
        return sum(worker.rows for worker in self.workers)

    @property
    def max_rows(self) -> int:
        return sum(worker.max_rows for worker in self.workers)

    @property
    def fitting_rows(self) -> int:
        return sum(worker.fitting_rows for worker in self.workers)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"rows": self.rows, "max_rows": self.max_rows, "fitting_rows": self.fitting_rows}


def look(client: redis.Redis) -> Snapshot:
    """Ask the store."""
    counts = JobStore(client, JobSettings()).counts()
    paused = QueueControl(client).paused_tiers()
    workers = tuple(WorkerRegistry(client).all())
    with redis_errors():
        in_review = int(client.zcard(REVIEW))
    queues = (
        Queue(
            tier=tier,
            waiting=counts[tier].queued,
            running=counts[tier].running,
            oldest_seconds=counts[tier].oldest_seconds,
            paused=tier in paused,
            workers=sum(tier in worker.tiers for worker in workers),
        )
        for tier in Tier
    )
    return Snapshot(tuple(queues), workers, in_review)


def top(
    *,
    seconds: Annotated[float, typer.Option(min=0.2, help="Pause between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is seen as JSON, one line a look.")] = False,
    data: Data = DEFAULT,
) -> None:
    """Watch queues, workers and batches until Ctrl-C."""
    with redis_of(data) as client:
        if once:
            seen = look(client)
            console = results()
            print(json.dumps(seen.as_json())) if as_json else console.print(picture(seen, width=console.width))
            return
        look(client)  # what is away from the start is said, and not waited for
        try:
            _print_lines(client, seconds) if as_json else _watch(client, seconds)
        except KeyboardInterrupt:
            return


def picture(seen: Snapshot, *, width: int, steps_per_second: dict[str, float] | None = None) -> Group:
    """What people see on lines of that many characters."""
    workers = _workers(seen, steps_per_second or {}, wide=width >= WIDE)
    return Group(_queues(seen), workers, Text(f" Waiting for a person: {seen.in_review}"))


def _queues(seen: Snapshot) -> Table:
    table = Table(Column("tier", no_wrap=True), "waiting", "oldest", "running", "workers", "", box=box.SIMPLE)
    for queue in seen.queues:
        idle = "no worker serves it" if not queue.workers and queue.waiting else ""
        table.add_row(
            queue.tier,
            str(queue.waiting),
            _age(queue.oldest_seconds),
            str(queue.running),
            str(queue.workers),
            "paused" if queue.paused else idle,
        )
    return table


def _workers(seen: Snapshot, rates: dict[str, float], *, wide: bool) -> Table:
    title = f"Workers: {len(seen.workers)}, rows {seen.rows} of {_fitting(seen)}"
    columns = ("jobs", "rows", "", "waiting", "steps/s", *(("device", "tiers", "models") if wide else ()))
    table = Table(Column("worker", no_wrap=True), *columns, box=box.SIMPLE, title=title)
    for worker in seen.workers:
        more = (worker.device, " ".join(worker.tiers), " ".join(worker.models)) if wide else ()
        table.add_row(
            worker.name + (" (leaving)" if worker.draining else ""),
            f"{worker.jobs}/{worker.places}",
            f"{worker.rows}/{_fitting(worker)}",
            bar(worker.rows, worker.fitting_rows),
            str(worker.waiting),
            f"{rates[worker.name]:.1f}" if worker.name in rates else "",
            *more,
        )
    return table


def _fitting(of: Snapshot | WorkerState) -> str:
    """Rows that fit, and the setting where a measured cap is lower."""
    return str(of.max_rows) if of.fitting_rows == of.max_rows else f"{of.fitting_rows} (of {of.max_rows})"


def bar(part: int, whole: int) -> str:
    """A bar of that much, in eighths of a character."""
    eighths = round(min(part / whole, 1.0) * BAR * 8) if whole else 0
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(BAR)


def _watch(client: redis.Redis, seconds: float) -> None:
    before: dict[str, tuple[float, int]] = {}
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            try:
                seen = look(client)
            except JobStoreUnavailable as error:
                live.update(Text(f"{error.detail} Looking again ..."), refresh=True)
            else:
                live.update(
                    picture(seen, width=live.console.width, steps_per_second=_rates(seen, before)), refresh=True
                )
            time.sleep(seconds)


def _rates(seen: Snapshot, before: dict[str, tuple[float, int]]) -> dict[str, float]:
    """Forwards of each worker since it last said something else; `before` is brought up to date."""
    rates = {}
    for worker in seen.workers:
        at = time.monotonic() - worker.seen_seconds
        told_at, steps = before.get(worker.name, (at, worker.steps))
        if at - told_at > 0.5:
            rates[worker.name] = max(worker.steps - steps, 0) / (at - told_at)
        if worker.name not in before or at - told_at > 10.0:
            before[worker.name] = (at, worker.steps)
    return rates


def _print_lines(client: redis.Redis, seconds: float) -> None:
    while True:
        print(json.dumps(look(client).as_json()), flush=True)
        time.sleep(seconds)


def _age(seconds: float) -> str:
    if seconds <= 0:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
