"""An owner's webhook endpoints: where events go, with which secret, what came of it, and sending again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from api.auth import GenerateKey, ReadKey
from api.dependencies import ServicesDep
from api.json_body import JsonBody
from api.openapi import errors
from api.services import Services
from api.webhook_schemas import (
    ENDPOINT_ID,
    AttemptBody,
    AttemptList,
    EndpointBody,
    EndpointChanges,
    EndpointList,
    EndpointRequest,
    EventsRequest,
    NewEndpointBody,
    ReplayedBody,
    ReplayRequest,
    RotationRequest,
    SecretBody,
    SentBody,
    UndeliveredBody,
    UndeliveredList,
)
from darkroom.delivery_log import ENTRIES
from darkroom.errors import DeliveryNotFound, EndpointDisabled, FieldProblem, InvalidParams
from darkroom.outbox import JOB_TARGET, MOST_UNDELIVERED, delivery_id
from darkroom.webhook_urls import BadWebhookUrl, read_webhook_url

router = APIRouter(prefix="/webhooks", tags=["webhooks"])
_NEW, _CHANGES = JsonBody(EndpointRequest), JsonBody(EndpointChanges)
_ROTATION, _REPLAY = JsonBody(RotationRequest, may_be_empty=True), JsonBody(ReplayRequest, may_be_empty=True)
_EVENTS = JsonBody(EventsRequest)
EndpointId = Annotated[str, Path(max_length=64, description="The endpoint's id.", examples=[ENDPOINT_ID])]
_READ = errors(401, 403, 404, 422, 429, 503)
_WRITE = errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


@router.post("", status_code=201, summary="Make a webhook endpoint", responses=_WRITE, openapi_extra=_NEW.openapi)
async def create_endpoint(
    key: GenerateKey, services: ServicesDep, body: Annotated[EndpointRequest, Depends(_NEW)]
) -> NewEndpointBody:
    """The answer holds the endpoint's secret; it is not shown again."""
    _require_usable(body.url, services)
    endpoint = await services.webhooks.endpoints.create(
        key.owner, url=body.url, events=body.events, description=body.description
    )
    return NewEndpointBody.from_endpoint(endpoint)


@router.get("", summary="List your webhook endpoints", responses=_READ)
async def list_endpoints(key: ReadKey, services: ServicesDep) -> EndpointList:
    """All of the owner's endpoints, oldest first, without their secrets."""
    endpoints = await services.webhooks.endpoints.all_of(key.owner)
    return EndpointList(endpoints=tuple(EndpointBody.from_endpoint(endpoint) for endpoint in endpoints))


@router.post("/secret", summary="Replace your jobs' webhook secret", responses=_WRITE, openapi_extra=_ROTATION.openapi)
async def rotate_owner_secret(
    key: GenerateKey, services: ServicesDep, body: Annotated[RotationRequest, Depends(_ROTATION)]
) -> SecretBody:
    """A new secret for the webhooks that jobs name themselves (`webhook.url`), shown this once."""
    secret = await services.webhooks.endpoints.rotate_owner_secret(key.owner, overlap_seconds=body.overlap_seconds)
    return SecretBody(secret=secret.text)


@router.get("/undelivered", summary="List events that were given up", responses=_READ)
async def list_undelivered(
    key: ReadKey, services: ServicesDep, limit: Annotated[int, Query(ge=1, le=MOST_UNDELIVERED)] = 100
) -> UndeliveredList:
    """The latest first. They are kept for 30 days, the latest thousand of an owner."""
    found = await services.webhooks.outbox.undelivered(key.owner, limit=limit)
    return UndeliveredList(undelivered=tuple(UndeliveredBody.from_delivery(delivery) for delivery in found))


@router.post(
    "/undelivered/replay", summary="Send undelivered events again", responses=_WRITE, openapi_extra=_REPLAY.openapi
)
async def replay_undelivered(
    key: GenerateKey, services: ServicesDep, body: Annotated[ReplayRequest, Depends(_REPLAY)]
) -> ReplayedBody:
    """Each gets all its attempts again, under the event id that it had."""
    replayed = await services.webhooks.outbox.replay(key.owner, body.ids)
    if body.ids and not replayed:
        raise DeliveryNotFound
    return ReplayedBody(replayed=replayed)


@router.post("/{endpoint_id}/replay", summary="Send events again", responses=_WRITE, openapi_extra=_EVENTS.openapi)
async def replay_events(
    endpoint_id: EndpointId,
    key: GenerateKey,
    services: ServicesDep,
    body: Annotated[EventsRequest, Depends(_EVENTS)],
) -> ReplayedBody:
    """Also those that arrived, for three days (the latest thousand of an owner), each under the event id that it had.

    `job` as endpoint stands for the webhooks that jobs named themselves.
    """
    wanted = [delivery_id(event, endpoint_id) for event in body.event_ids]
    replayed = await services.webhooks.outbox.replay(key.owner, wanted)
    if not replayed:
        raise DeliveryNotFound
    return ReplayedBody(replayed=replayed)


@router.get("/{endpoint_id}", summary="Read a webhook endpoint", responses=_READ)
async def read_endpoint(endpoint_id: EndpointId, key: ReadKey, services: ServicesDep) -> EndpointBody:
    """One endpoint, without its secret."""
    return EndpointBody.from_endpoint(await services.webhooks.endpoints.get(key.owner, endpoint_id))


@router.patch("/{endpoint_id}", summary="Change a webhook endpoint", responses=_WRITE, openapi_extra=_CHANGES.openapi)
async def change_endpoint(
    endpoint_id: EndpointId,
    key: GenerateKey,
    services: ServicesDep,
    body: Annotated[EndpointChanges, Depends(_CHANGES)],
) -> EndpointBody:
    """Fields that are left out stay as they are. `enabled: true` also brings back one that was disabled by a 410."""
    if body.url is not None:
        _require_usable(body.url, services)
    changes = body.model_dump(exclude_none=True)
    if body.enabled is not None:
        changes["disabled_because"] = None if body.enabled else "owner"
    return EndpointBody.from_endpoint(await services.webhooks.endpoints.update(key.owner, endpoint_id, **changes))


@router.delete("/{endpoint_id}", status_code=204, summary="Delete a webhook endpoint", responses=_READ)
async def delete_endpoint(endpoint_id: EndpointId, key: GenerateKey, services: ServicesDep) -> Response:
    """Nothing is sent there any more, not even what waits."""
    await services.webhooks.endpoints.delete(key.owner, endpoint_id)
    await services.webhooks.log.forget(key.owner, endpoint_id)
    return Response(status_code=204)


@router.post(
    "/{endpoint_id}/rotate",
    summary="Replace a webhook endpoint's secret",
    responses=_WRITE,
    openapi_extra=_ROTATION.openapi,
)
async def rotate_secret(
    endpoint_id: EndpointId,
    key: GenerateKey,
    services: ServicesDep,
    body: Annotated[RotationRequest, Depends(_ROTATION)],
) -> NewEndpointBody:
    """The new secret is shown this once. Until the overlap is over, both sign."""
    endpoint = await services.webhooks.endpoints.rotate(key.owner, endpoint_id, overlap_seconds=body.overlap_seconds)
    return NewEndpointBody.from_endpoint(endpoint)


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    summary="Send a test event",
    responses=errors(401, 403, 404, 409, 422, 429, 503),
)
async def send_test(endpoint_id: EndpointId, key: GenerateKey, services: ServicesDep) -> SentBody:
    """An event of type `webhook.test` is sent, signed like every other."""
    endpoint = await services.webhooks.endpoints.get(key.owner, endpoint_id)
    if not endpoint.enabled:
        raise EndpointDisabled
    return SentBody(event_id=await services.webhooks.outbox.put_test(key.owner, endpoint_id))


@router.get("/{endpoint_id}/attempts", summary="List what came of deliveries", responses=_READ)
async def list_attempts(
    endpoint_id: EndpointId, key: ReadKey, services: ServicesDep, limit: Annotated[int, Query(ge=1, le=ENTRIES)] = 50
) -> AttemptList:
    """The latest attempts to deliver there, newest first; `job` in the id's place: of the webhooks that jobs name."""
    if endpoint_id != JOB_TARGET:
        await services.webhooks.endpoints.get(key.owner, endpoint_id)
    entries = await services.webhooks.log.latest(key.owner, endpoint_id, limit=limit)
    return AttemptList(attempts=tuple(AttemptBody.from_entry(entry) for entry in entries))


def _require_usable(url: str, services: Services) -> None:
    try:
        read_webhook_url(url, services.webhooks.rules)
    except BadWebhookUrl as problem:
        raise InvalidParams([FieldProblem("url", str(problem))]) from None
