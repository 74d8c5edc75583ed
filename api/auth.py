"""Who calls: `Authorization: Bearer dk_...` becomes an `ApiKey`, and a route names the scope it needs.

Missing, malformed, unknown, revoked and expired keys get the same answer. Only requests with a valid key count against
the key, so that nobody else can use it up; all others count against the address they come from.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.client_address import client_address
from api.dependencies import LimitsDep, ServicesDep, SettingsDep
from api.problems import rate_headers
from darkroom.errors import NotAuthenticated, NotPermitted
from darkroom.keys import ApiKey, Scope

_bearer = HTTPBearer(
    scheme_name="ApiKey", bearerFormat="dk_<id>_<secret>", auto_error=False, description="An API key of the service."
)


async def authenticate(
    *,
    services: ServicesDep,
    settings: SettingsDep,
    limits: LimitsDep,
    request: Request,
    response: Response,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> ApiKey:
    """The caller's key.

    Raises:
        NotAuthenticated: there is no valid one.
        RateLimited: the key, or the address without one, came too often.
    """
    key = await services.keys.verify(credentials.credentials) if credentials else None
    if key is None:
        if limits.refusals:
            await limits.refusals.take(client_address(request.scope, settings.proxies))
        raise NotAuthenticated
    if limits.requests:
        response.headers.update(rate_headers(await limits.requests.take(key.id)))
    return key


class Permitted:
    """A dependency: the caller's key, if it has the scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def __call__(self, key: Annotated[ApiKey, Depends(authenticate)]) -> ApiKey:
        if self._scope not in key.scopes:
            raise NotPermitted(f"This API key lacks the scope `{self._scope}`.")
        return key


AnyKey = Annotated[ApiKey, Depends(authenticate)]
GenerateKey = Annotated[ApiKey, Depends(Permitted(Scope.GENERATE))]
ReadKey = Annotated[ApiKey, Depends(Permitted(Scope.READ))]
CancelKey = Annotated[ApiKey, Depends(Permitted(Scope.CANCEL))]
ReviewKey = Annotated[ApiKey, Depends(Permitted(Scope.REVIEW))]
SealedKey = Annotated[ApiKey, Depends(Permitted(Scope.SEALED))]
AdminKey = Annotated[ApiKey, Depends(Permitted(Scope.ADMIN))]
