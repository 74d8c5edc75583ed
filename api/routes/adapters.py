"""`GET /adapters`: the styles that this owner may add to a prompt."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import AnyKey
from api.dependencies import ServicesDep
from api.openapi import errors
from api.schemas import AdapterBody, AdapterList

router = APIRouter(tags=["catalogue"])


@router.get("/adapters", summary="List the adapters (LoRAs)", responses=errors(401, 429, 503))
async def list_adapters(key: AnyKey, services: ServicesDep) -> AdapterList:
    """Every adapter that this key's owner may name in a request, with the model it is made for."""
    adapters = services.catalogue.adapters_of(key.owner).values()
    return AdapterList(adapters=tuple(AdapterBody.from_spec(spec) for spec in adapters))
