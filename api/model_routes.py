"""What stands behind the name of a model in a request: a model, or an alias and the variants it may mean now.

A variant that can't do what a request asks (another size, an adapter of its own) leaves it to the alias's main one, so
that no caller is refused for the arm they were given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from darkroom.catalogue import Catalogue
from darkroom.errors import InvalidParams
from darkroom.params import GenerationRequest
from darkroom.route_board import RouteBoard
from darkroom.routing import AliasSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Routed:
    """The models to try in turn, and the alias that led to them."""

    models: tuple[str | None, ...]
    alias: AliasSpec | None = None

    @property
    def route(self) -> str | None:
        return self.alias.route if self.alias else None

    def first_able(self, request: GenerationRequest, resolve: Callable[[GenerationRequest], T]) -> T:
        """What the first of the models makes of the request that can do it.

        Raises:
            InvalidParams: the last one can't either.
        """
        *others, last = self.models
        for model in others:
            try:
                return resolve(request.model_copy(update={"model": model}))
            except InvalidParams:
                continue
        return resolve(request.model_copy(update={"model": last}))


def route(name: str | None, catalogue: Catalogue, board: RouteBoard, *, owner: str, job: str) -> Routed:
    """Where this job goes; names that nobody knows are left to those who refuse them."""
    alias = catalogue.aliases.get(catalogue.default if name is None else name)
    if alias is None:
        return Routed((name,))
    arm = alias.arm(owner=owner, job=job, out=board.out_of(alias))
    return Routed(tuple(dict.fromkeys((arm, alias.main))), alias)
