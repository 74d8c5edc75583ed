"""What may be asked for: models with their limits, noise schedulers with theirs."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import AnyKey
from api.dependencies import ServicesDep, SettingsDep
from api.openapi import errors
from api.schemas import AliasBody, ModelBody, ModelList, RequestLimits, SchedulerBody, SchedulerList
from darkroom.schedulers import SCHEDULERS

router = APIRouter(tags=["catalogue"])


@router.get("/models", summary="List the models", responses=errors(401, 429, 503))
async def list_models(_key: AnyKey, services: ServicesDep, settings: SettingsDep) -> ModelList:
    """Every model that a request may name, with its defaults and limits."""
    catalogue = services.catalogue
    models = [
        ModelBody.from_spec(spec, default=name == catalogue.default, embeddings=catalogue.tokens_of(name))
        for name, spec in catalogue.models.items()
    ]
    aliases = tuple(
        AliasBody(name=alias.name, default=alias.name == catalogue.default, description=alias.description)
        for alias in catalogue.aliases.values()
    )
    return ModelList(
        models=tuple(models), aliases=aliases, limits=RequestLimits(input_image_bytes=settings.max_image_bytes)
    )


@router.get("/schedulers", summary="List the noise schedulers", responses=errors(401, 429, 503))
async def list_schedulers(_key: AnyKey) -> SchedulerList:
    """Every noise scheduler that a request may name, with the steps it takes."""
    return SchedulerList(schedulers=tuple(SchedulerBody.from_info(info) for info in SCHEDULERS.values()))
