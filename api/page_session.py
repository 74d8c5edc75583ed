"""Who is signed in on the review page, and whether a form that came is one of its own.

The cookie goes along with requests of our own pages only (SameSite=Strict) and is out of every script's reach; on top,
each form carries the session's token. A revoked or expired key ends its sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from api.dependencies import ServicesDep
from api.pages import fill, page
from darkroom.errors import BodyTooLarge, DarkroomError, NotAuthenticated, NotPermitted
from darkroom.keys import Scope
from darkroom.review_sessions import Session

COOKIE = "darkroom_review"
PATH = "/review"
MAX_FORM = 64 * 1024
FOREIGN = frozenset({"cross-site", "same-site"})  # values of Sec-Fetch-Site that no form of ours is sent with


class PageRoute(APIRoute):
    """A route that answers errors as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except NotAuthenticated:
                return page("Sign in", fill("sign_in.html", message="Sign in to review."), status=401)
            except DarkroomError as error:
                return page("Not possible", fill("message.html", message=error.detail), status=error.status)

        return answer


async def signed_in(request: Request, services: ServicesDep) -> Session:
    """The session of the request.

    Raises:
        NotAuthenticated: there is none, or its key is dead.
    """
    session = await services.sessions.find(request.cookies.get(COOKIE, ""))
    if session is None or not await services.keys.is_alive(session.key):
        raise NotAuthenticated
    if Scope.REVIEW not in session.key.scopes:
        raise NotPermitted
    return session


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form.

    Raises:
        NotPermitted: another site sent it.
        BodyTooLarge: no form of ours is that long.
    """
    if request.headers.get("sec-fetch-site", "") in FOREIGN:
        raise NotPermitted("This form was not sent from the review page.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            raise BodyTooLarge
    return dict(parse_qsl(body.decode("utf-8", errors="replace"), keep_blank_values=True))


async def own_form(request: Request, session: SessionDep) -> Mapping[str, str]:
    """The fields of a form that carries the session's token.

    Raises:
        NotPermitted: it does not.
    """
    form = await read_form(request)
    if not session.wrote(form.get("csrf", "")):
        raise NotPermitted("This form was not sent from the review page, or you signed in anew: go back and reload.")
    return form


SessionDep = Annotated[Session, Depends(signed_in)]
FormDep = Annotated[Mapping[str, str], Depends(own_form)]
