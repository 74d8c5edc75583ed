"""What routes ask for by annotation; `create_app` put it on the application's state.

They are coroutines because FastAPI hands plain functions to a thread, five hops for one submission.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from api.event_hub import EventHub
from api.limits import Limits
from api.services import Services
from api.submission import Submission
from darkroom.settings import ApiSettings


async def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


async def _settings(request: Request) -> ApiSettings:
    return cast("ApiSettings", request.app.state.settings)


async def _submission(request: Request) -> Submission:
    return cast("Submission", request.app.state.submission)


async def _hub(request: Request) -> EventHub:
    return cast("EventHub", request.app.state.hub)


async def _limits(request: Request) -> Limits:
    return cast("Limits", request.app.state.limits)


ServicesDep = Annotated[Services, Depends(_services)]
SettingsDep = Annotated[ApiSettings, Depends(_settings)]
HubDep = Annotated[EventHub, Depends(_hub)]
LimitsDep = Annotated[Limits, Depends(_limits)]
SubmissionDep = Annotated[Submission, Depends(_submission)]
