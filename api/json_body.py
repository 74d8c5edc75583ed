"""A route's JSON body as a model: read strictly, and only once the caller's key is known."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from api.auth import AdminKey, GenerateKey, ReadKey, ReviewKey
from api.dependencies import SettingsDep
from api.strict_json import read_json
from api.validation import validated
from darkroom.settings import ApiSettings

M = TypeVar("M", bound=BaseModel)


class JsonBody(Generic[M]):
    """A dependency that gives the body of a route for which `generate` is needed."""

    def __init__(self, model: type[M], *, may_be_empty: bool = False) -> None:
        self._model = model
        self._may_be_empty = may_be_empty

    async def __call__(self, request: Request, _key: GenerateKey, settings: SettingsDep) -> M:
        return await self._read(request, settings)

    @property
    def openapi(self) -> dict[str, Any]:
        """`openapi_extra` of the route."""
        schema = {"$ref": f"#/components/schemas/{self._model.__name__}"}
        required = not self._may_be_empty
        return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}

    async def _read(self, request: Request, settings: ApiSettings) -> M:
        if self._may_be_empty and not await request.body():
            return self._model()
        return validated(self._model, await read_json(request, max_depth=settings.max_json_depth))


class ReadBody(JsonBody[M]):
    """The same where `read` is needed."""

    async def __call__(self, request: Request, _key: ReadKey, settings: SettingsDep) -> M:
        return await self._read(request, settings)


class ReviewBody(JsonBody[M]):
    """The same where `review` is needed."""

    async def __call__(self, request: Request, _key: ReviewKey, settings: SettingsDep) -> M:
        return await self._read(request, settings)


class AdminBody(JsonBody[M]):
    """The same where `admin` is needed."""

    async def __call__(self, request: Request, _key: AdminKey, settings: SettingsDep) -> M:
        return await self._read(request, settings)
