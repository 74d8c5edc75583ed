"""`darkroom queue`: pauses and resumes a tier or a model, straight in the store that the workers ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.connection import Data
from cli.console import say
from cli.data_folder import DEFAULT
from cli.stores import redis_of
from darkroom.jobs import Tier
from darkroom.queue_control import QueueControl

app = typer.Typer(no_args_is_help=True, help="Pause and resume a tier or a model; no job is lost.")
OfTier = Annotated[Tier | None, typer.Option("--tier", help="The jobs of this tier.")]
OfModel = Annotated[str | None, typer.Option("--model", help="The jobs of this model.")]


@app.command()
def pause(*, tier: OfTier = None, model: OfModel = None, data: Data = DEFAULT) -> None:
    """Start no more jobs of a tier or a model; they are still taken, and wait."""
    _require_one(tier, model)
    with queue_control(data) as control:
        control.pause(tier=tier, model=model)
    say(f"Paused: {_named(tier, model)}.")


@app.command()
def resume(*, tier: OfTier = None, model: OfModel = None, data: Data = DEFAULT) -> None:
    """Start the jobs of a tier or a model again."""
    _require_one(tier, model)
    with queue_control(data) as control:
        control.unpause(tier=tier, model=model)
    say(f"Resumed: {_named(tier, model)}.")


@app.command()
def show(*, data: Data = DEFAULT) -> None:
    """Show what is paused."""
    with queue_control(data) as control:
        print(f"tiers: {' '.join(sorted(control.paused_tiers())) or 'none'}")
        print(f"models: {' '.join(sorted(control.paused_models())) or 'none'}")


@contextmanager
def queue_control(data: Path) -> Iterator[QueueControl]:
    """The queue of that service."""
    with redis_of(data) as client:
        yield QueueControl(client)


def _require_one(tier: Tier | None, model: str | None) -> None:
    if tier is None and model is None:
        raise typer.BadParameter("name a --tier or a --model")


def _named(tier: Tier | None, model: str | None) -> str:
    return ", ".join([*([f"tier {tier}"] if tier else []), *([f"model {model}"] if model else [])])
