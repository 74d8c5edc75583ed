"""Bodies of the routes under `/webhooks`. A secret is in the answer that made it, and in no other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from darkroom.delivery_log import LogEntry
from darkroom.outbox import Delivery
from darkroom.webhook_events import WebhookEvent
from darkroom.webhook_urls import MAX_URL
from darkroom.webhooks import Endpoint

ENDPOINT_ID = "ep_5f0c2d9a7b3e41868a90d2c4"
DAY, WEEK = 86_400, 7 * 86_400
_Url = Annotated[
    str, Field(max_length=MAX_URL, description="Where events are posted; https, unless the operator allows http.")
]
_Events = Annotated[
    tuple[WebhookEvent, ...], Field(max_length=16, description="Types to send; none means all but `job.progress`.")
]
_Description = Annotated[str, Field(max_length=200, description="For people.")]
_Overlap = Annotated[
    int, Field(ge=0, le=WEEK, description="Seconds for which the secret before goes on signing beside the new one.")
]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EndpointRequest(_Body):
    """A new endpoint."""

    url: _Url
    events: _Events = ()
    description: _Description = ""


class EndpointChanges(_Body):
    """What is to be different; what is left out stays."""

    url: _Url | None = None
    events: _Events | None = None
    description: _Description | None = None
    enabled: bool | None = Field(None, description="False keeps the endpoint and sends nothing there.")


class RotationRequest(_Body):
    """How a secret is replaced."""

    overlap_seconds: _Overlap = DAY


class ReplayRequest(_Body):
    """Which undelivered events are sent again."""

    ids: tuple[Annotated[str, Field(max_length=200)], ...] | None = Field(
        None, max_length=1_000, description="Ids that `GET /webhooks/undelivered` showed; all by default."
    )


class EventsRequest(_Body):
    """Which events are sent to an endpoint again."""

    event_ids: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        min_length=1, max_length=1_000, description="Ids that `GET /webhooks/{endpoint_id}/attempts` showed."
    )


REQUEST_BODIES: tuple[type[BaseModel], ...] = (
    EndpointRequest,
    EndpointChanges,
    RotationRequest,
    ReplayRequest,
    EventsRequest,
)


class EndpointBody(_Body):
    """A webhook endpoint."""

    id: str = Field(examples=[ENDPOINT_ID])
    url: str
    events: tuple[str, ...]
    description: str
    enabled: bool
    disabled_because: str | None = Field(description="`gone` after the receiver answered 410, `owner` at your wish.")
    created_at: datetime

    @classmethod
    def from_endpoint(cls, endpoint: Endpoint) -> Self:
        return cls(**_shown(endpoint))


class NewEndpointBody(EndpointBody):
    """A webhook endpoint with the secret that its events are signed with, shown this once."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])

    @classmethod
    def from_endpoint(cls, endpoint: Endpoint) -> Self:
        return cls(**_shown(endpoint), secret=endpoint.secrets[0].text)


class EndpointList(_Body):
    """The owner's endpoints."""

    endpoints: tuple[EndpointBody, ...]


class SecretBody(_Body):
    """The secret of the webhooks that jobs name themselves, shown this once."""

    secret: str


class SentBody(_Body):
    """An event that was put into the outbox."""

    event_id: str


class ReplayedBody(_Body):
    """How many events are sent again."""

    replayed: int


class AttemptBody(_Body):
    """One attempt to deliver an event."""

    event_id: str
    type: str
    job_id: str | None
    attempt: int
    at: datetime
    result: str = Field(description="`delivered`, `retried` (another attempt follows) or `dead`.")
    status: int | None = Field(description="Of the receiver's reply.")
    failure: str | None = Field(description="Why there was no reply.")
    seconds: float
    next_at: datetime | None

    @classmethod
    def from_entry(cls, entry: LogEntry) -> Self:
        return cls(
            event_id=entry.event,
            type=entry.type,
            job_id=entry.job or None,
            attempt=entry.attempt,
            at=_moment(entry.at),
            result=entry.result,
            status=entry.status,
            failure=entry.failure,
            seconds=entry.seconds,
            next_at=None if entry.next_at is None else _moment(entry.next_at),
        )


class AttemptList(_Body):
    """The latest attempts, newest first."""

    attempts: tuple[AttemptBody, ...]


class UndeliveredBody(_Body):
    """An event that was given up."""

    id: str
    event_id: str
    type: str
    job_id: str | None
    endpoint_id: str = Field(description="`job` for the webhook that the job named itself.")
    attempts: int
    reason: str
    happened_at: datetime
    given_up_at: datetime | None

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> Self:
        return cls(
            id=delivery.id,
            event_id=delivery.event,
            type=delivery.type,
            job_id=delivery.job or None,
            endpoint_id=delivery.target,
            attempts=delivery.attempt,
            reason=delivery.reason,
            happened_at=_moment(delivery.time),
            given_up_at=None if delivery.given_up_at is None else _moment(delivery.given_up_at),
        )


class UndeliveredList(_Body):
    """Events that were given up, latest first."""

    undelivered: tuple[UndeliveredBody, ...]


def _shown(endpoint: Endpoint) -> dict[str, object]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": endpoint.events,
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "disabled_because": endpoint.disabled_because,
        "created_at": _moment(endpoint.created_at),
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
