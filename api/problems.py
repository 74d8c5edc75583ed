"""Every error answer, as one RFC 9457 body: `application/problem+json`.

Handlers turn Darkroom's errors, the framework's and unexpected ones into the same shape. What the caller sent is never
repeated: fields are named, values are not. Knows no route.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import PurePath

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_ids import request_id_of
from api.validation import field_problem
from darkroom.errors import (
    Allowance,
    DarkroomError,
    FieldProblem,
    InvalidParams,
    NotAuthenticated,
    NotPermitted,
    Overloaded,
    RateLimited,
    Transient,
)
from darkroom.logs import get_logger

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2  # suggested to callers while a part of the service is away
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/_.-]{0,160}")
log = get_logger(__name__)

# The framework's own refusals: status -> (code, what to tell the caller).
_FRAMEWORK: Mapping[int, tuple[str, str]] = {
    400: ("malformed_request", "The request is not valid HTTP for this route."),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take this method; the Allow header lists those it takes."),
}


class FieldError(BaseModel):
    """One thing wrong with one field."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="Which field, header or query parameter.", examples=["num_images"])
    message: str = Field(description="What is wrong with it.", examples=["must be at most 8"])
    limit: str | None = Field(None, description="What is allowed.", examples=["at most 8"])
    nearest: str | int | float | None = Field(None, description="The nearest value that is allowed.", examples=[8])


class Problem(BaseModel):
    """An error answer, RFC 9457."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="Names the kind of problem.", examples=["urn:darkroom:problem:invalid_params"])
    title: str = Field(description="The kind of problem in words.", examples=["Invalid params"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="What happened this time.", examples=["num_images: must be at most 8"])
    instance: str = Field(description="The path that was asked for.", examples=["/generate"])
    code: str = Field(description="Stable code for programs.", examples=["invalid_params"])
    errors: list[FieldError] = Field(description="One entry for each field at fault.")
    request_id: str = Field(description="Also in the X-Request-ID header; quote it when you ask for help.")


def problem_response(
    scope: Scope,
    *,
    status: int,
    code: str,
    detail: str,
    problems: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One error answer."""
    body = Problem(
        type=f"urn:darkroom:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        instance=_instance(scope),
        code=code,
        errors=[
            FieldError(field=item.field, message=item.message, limit=item.limit, nearest=item.nearest)
            for item in problems
        ],
        request_id=request_id_of(scope),
    )
    return JSONResponse(body.model_dump(), status, headers=headers, media_type=MEDIA_TYPE)


def darkroom_error_response(scope: Scope, error: DarkroomError) -> JSONResponse:
    """The answer to one of our own errors; those that are not the caller's affair say nothing of the inside."""
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error_response(scope, error)
    problems = error.problems if isinstance(error, InvalidParams) else ()
    return problem_response(
        scope,
        status=error.status,
        code=error.code,
        detail=error.detail,
        problems=problems,
        headers=_headers_of(error),
    )


def internal_error_response(scope: Scope, error: Exception) -> JSONResponse:
    """The answer to a bug of ours: the log gets the place, not the text, which may hold what the caller sent."""
    log.error("request_crashed", error=type(error).__name__, at=_places(error))
    detail = "Something went wrong inside Darkroom. The request id leads to it in the service's log."
    return problem_response(scope, status=500, code="internal_error", detail=detail)


async def on_darkroom_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DarkroomError), "registered for DarkroomError"
    return darkroom_error_response(request.scope, error)


async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError), "registered for RequestValidationError"
    invalid = InvalidParams([field_problem(tuple(item["loc"]), item, known=()) for item in error.errors()])
    return darkroom_error_response(request.scope, invalid)


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException), "registered for HTTPException"
    phrase = HTTPStatus(error.status_code).phrase
    code, detail = _FRAMEWORK.get(error.status_code, (phrase.lower().replace(" ", "_"), f"{phrase}."))
    return problem_response(request.scope, status=error.status_code, code=code, detail=detail, headers=error.headers)


class AnswerCrashes:
    """Middleware that turns whatever no handler knows into a 500 problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001 -- the one place that answers for everything else
            response = internal_error_response(scope, error)
            if not started:
                await response(scope, receive, send)


def _headers_of(error: DarkroomError) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        return {"WWW-Authenticate": 'Bearer realm="darkroom"'}
    if isinstance(error, NotPermitted):
        return {"WWW-Authenticate": 'Bearer realm="darkroom", error="insufficient_scope"'}
    if isinstance(error, (RateLimited, Overloaded)):
        return {"Retry-After": str(error.retry_seconds), **rate_headers(error.allowance)}
    if isinstance(error, Transient):
        return {"Retry-After": str(RETRY_SECONDS)}
    return {}


def rate_headers(allowance: Allowance) -> dict[str, str]:
    """The headers of draft-ietf-httpapi-ratelimit-headers."""
    window = "" if allowance.window is None else f";w={allowance.window}"
    return {
        "RateLimit-Policy": f'"{allowance.policy}";q={allowance.quota}{window}',
        "RateLimit": f'"{allowance.policy}";r={allowance.remaining};t={allowance.reset}',
    }


def _instance(scope: Scope) -> str:
    """The path, unless it holds what a path of ours never holds: then it is the caller's text, not a place."""
    path = str(scope["path"])
    return path if _PLAIN_PATH.fullmatch(path) else "/"


def _places(error: Exception) -> list[str]:
    """The innermost calls, by file and line."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
