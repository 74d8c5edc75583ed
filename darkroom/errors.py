"""Every error Darkroom raises on purpose, in one tree.

The three families tell a shell what to do: `InvalidRequest` is answered to the caller and never retried, `Transient`
is retried with backoff, `Fatal` fails the job and recycles the process. A class's docstring is its default message.
Messages never hold a prompt, a key or a URL: they may be logged and returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field of a request: what, the limit, and what would have been right."""

    field: str
    message: str
    limit: str | None = None
    nearest: str | int | float | None = None


@dataclass(frozen=True)
class Allowance:
    """What is left of a limit of `quota` calls in `window` seconds."""

    policy: str
    quota: int
    window: int | None  # None: it holds at any moment, not for a stretch of time
    remaining: int
    reset: int  # seconds until all of it is back


class DarkroomError(Exception):
    """Something went wrong inside Darkroom."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.detail)


class InvalidRequest(DarkroomError):
    """The request can't be carried out as it stands."""

    code = "invalid_request"
    status = 400


class Transient(DarkroomError):
    """A part that Darkroom depends on is not answering; trying again later may help."""

    code = "temporarily_unavailable"
    status = 503


class Fatal(DarkroomError):
    """The process can't do its work any longer and must be replaced."""

    code = "process_failed"


# What a caller may meet.


class InvalidParams(InvalidRequest):
    """One or more fields of the request are not valid."""

    code = "invalid_params"
    status = 422

    def __init__(self, problems: list[FieldProblem], detail: str | None = None) -> None:
        self.problems = problems
        super().__init__(detail or "; ".join(f"{p.field}: {p.message}" for p in problems))


class NotAuthenticated(InvalidRequest):
    """A valid API key is needed: send it as `Authorization: Bearer dk_...`."""

    code = "not_authenticated"
    status = 401


class NotPermitted(InvalidRequest):
    """This API key lacks the scope that the call needs."""

    code = "not_permitted"
    status = 403


class RateLimited(InvalidRequest):
    """There were too many requests; wait as long as Retry-After says."""

    code = "rate_limited"
    status = 429

    def __init__(self, allowance: Allowance, *, retry_seconds: int) -> None:
        self.allowance = allowance
        self.retry_seconds = retry_seconds
        super().__init__()


class QuotaExceeded(RateLimited):
    """A cap of this owner is reached; wait as long as Retry-After says."""

    code = "quota_exceeded"

    def __init__(self, allowance: Allowance, *, retry_seconds: int) -> None:
        super().__init__(allowance, retry_seconds=retry_seconds)
        self.detail = _CAPS[allowance.policy].format(quota=allowance.quota)
        self.args = (self.detail,)


class BudgetExhausted(QuotaExceeded):
    """This owner's budget for the day is used up; wait as long as Retry-After says."""

    code = "budget_exhausted"


class KeySlowed(RateLimited):
    """Too many prompts of this key were refused; wait as long as Retry-After says."""

    code = "key_slowed"


class KeyHeld(InvalidRequest):
    """So many prompts of this key were refused that it makes no jobs until the operator has had a look."""

    code = "key_held"
    status = 403


_CAPS = {
    "queued": "As many jobs are waiting as this owner may have ({quota}): let some start, or cancel some.",
    "budget": "This owner's budget for a day has no room for this job ({quota} megapixels times steps, UTC).",
    "spend": "This owner's budget of money for a day has no room for this job ({quota} hundredths, UTC).",
    "cost": "This owner has asked for as much as one minute allows ({quota} megapixels times steps).",
}


class TooManyListeners(RateLimited):
    """This owner follows as many jobs at once as one may: let some streams end, or use webhooks."""

    code = "too_many_listeners"


class OwnerSuspended(InvalidRequest):
    """The operator has suspended this owner: jobs are not taken, and those that wait stay where they are."""

    code = "owner_suspended"
    status = 403


class JobNotFound(InvalidRequest):
    """There is no such job."""

    code = "job_not_found"
    status = 404


class ObjectNotFound(InvalidRequest):
    """There is no such object, or its link has expired."""

    code = "object_not_found"
    status = 404


class EndpointNotFound(InvalidRequest):
    """There is no such webhook endpoint."""

    code = "endpoint_not_found"
    status = 404


class EndpointDisabled(InvalidRequest):
    """The webhook endpoint is disabled: enable it first."""

    code = "endpoint_disabled"
    status = 409


class DeliveryNotFound(InvalidRequest):
    """There is no such undelivered event."""

    code = "delivery_not_found"
    status = 404


class TooManyEndpoints(InvalidRequest):
    """There are as many webhook endpoints as one owner may have: delete one first."""

    code = "too_many_endpoints"
    status = 409


class UnknownModel(InvalidRequest):
    """The catalogue has no such model."""

    code = "unknown_model"
    status = 422


class UnknownAdapter(InvalidRequest):
    """There is no such adapter."""

    code = "unknown_adapter"
    status = 422


class AdapterMismatch(InvalidRequest):
    """The adapter was made for another model."""

    code = "adapter_mismatch"
    status = 422


class BodyTooLarge(InvalidRequest):
    """The request body is larger than the server accepts."""

    code = "body_too_large"
    status = 413


class MalformedBody(InvalidRequest):
    """The request body is not valid JSON."""

    code = "malformed_body"


class UnsupportedMediaType(InvalidRequest):
    """The body must be JSON (`application/json`), or `multipart/form-data` where files come with it."""

    code = "unsupported_media_type"
    status = 415


class JobNotCancellable(InvalidRequest):
    """The job has already ended, so it can't be cancelled."""

    code = "job_not_cancellable"
    status = 409


class JobNotRateable(InvalidRequest):
    """A job can be rated once it has succeeded, as long as its record is not archived."""

    code = "job_not_rateable"
    status = 409


class JobNotRequeueable(InvalidRequest):
    """The job has ended or waits for a person, so it can't go back to the queue."""

    code = "job_not_requeueable"
    status = 409


class JobGone(InvalidRequest):
    """The job was deleted, or its time of retention has passed."""

    code = "job_gone"
    status = 410


class JobNotEnded(InvalidRequest):
    """The job has not ended yet, so it can't be deleted: cancel it first (`POST /jobs/{id}/cancel`)."""

    code = "job_not_ended"
    status = 409


class JobHeld(InvalidRequest):
    """The job is under a legal hold, so nothing of it may be deleted."""

    code = "legal_hold"
    status = 409


class ReviewTaken(InvalidRequest):
    """Somebody else has this item in hand."""

    code = "review_taken"
    status = 409


class ReviewLeaseLost(InvalidRequest):
    """You do not hold this item any more: take it again before you decide."""

    code = "review_lease_lost"
    status = 409


class ReviewDecided(InvalidRequest):
    """This is decided already, or its time has passed."""

    code = "review_decided"
    status = 409


class SecondPersonNeeded(InvalidRequest):
    """Somebody else has to decide this: you took part in it before."""

    code = "second_person_needed"
    status = 409


class AppealNotPossible(InvalidRequest):
    """There is nothing to appeal against: nothing of this job was refused by a check or a reviewer."""

    code = "appeal_not_possible"
    status = 409


class IdempotencyMismatch(InvalidRequest):
    """This Idempotency-Key was used before with a different body."""

    code = "idempotency_key_reused"
    status = 422


class BadCursor(InvalidRequest):
    """The cursor is not one that a page of this list gave."""

    code = "bad_cursor"


# What stops a service from starting.


class ConfigurationError(DarkroomError):
    """A setting or a file that Darkroom reads at start-up is not valid."""

    code = "configuration_error"


# What a job may end with, or wait for.


class CheckUnavailable(Transient):
    """A safety check could not give an answer, so nothing was let through."""

    code = "check_unavailable"


class SigningUnavailable(Transient):
    """The image could not be signed, so it is not released."""

    code = "signing_unavailable"


class ObjectStoreUnavailable(Transient):
    """The object store is not answering."""

    code = "object_store_unavailable"


class JobStoreUnavailable(Transient):
    """The job store is not answering."""

    code = "job_store_unavailable"


class TicketsUnavailable(Transient):
    """The broker did not take the ticket; the reaper will issue it."""

    code = "tickets_unavailable"


class Overloaded(Transient):
    """As many jobs are waiting as the service takes; wait as long as Retry-After says."""

    code = "overloaded"

    def __init__(self, allowance: Allowance, *, retry_seconds: int) -> None:
        self.allowance = allowance
        self.retry_seconds = retry_seconds
        super().__init__()


class SealBroken(DarkroomError):
    """A sealed text can't be opened: its key is not in DARKROOM_SECRET_FILE, or it was changed."""

    code = "seal_broken"


class AuditBroken(DarkroomError):
    """The audit log's chain does not hold: an entry was changed, taken out or put in."""

    code = "audit_broken"


class InputUnavailable(DarkroomError):
    """A picture that came with the job is missing in the object store, or damaged there."""

    code = "input_unavailable"


class ModelUnavailable(DarkroomError):
    """The model could not be loaded."""

    code = "model_unavailable"


class WeightsInvalid(DarkroomError):
    """A file of weights can't be used."""

    code = "weights_invalid"


class AdapterInvalid(WeightsInvalid):
    """The adapter's file can't be used."""

    code = "adapter_invalid"


class EmbeddingInvalid(WeightsInvalid):
    """The file of an embedding that a prompt uses can't be used."""

    code = "embedding_invalid"


class GenerationCancelled(DarkroomError):
    """The generation was cancelled before it ended."""

    code = "cancelled"


class DeadlineExceeded(DarkroomError):
    """The job's deadline passed before its images were done."""

    code = "deadline_exceeded"


class GenerationFailed(DarkroomError):
    """The image could not be generated."""

    code = "generation_failed"


class OutOfMemory(GenerationFailed):
    """The image does not fit the device's memory; a smaller size would."""

    code = "out_of_memory"


class ClaimLost(DarkroomError):
    """The job's lease was taken by somebody else; this attempt's result is not wanted any more."""

    code = "claim_lost"


class ClaimHeld(DarkroomError):
    """The worker has to finish what it has in hand before it may claim again."""

    code = "claim_held"


class EngineStopped(Fatal):
    """The engine has stopped, so the job goes back to the queue."""

    code = "engine_stopped"


class DeviceLost(Fatal):
    """The accelerator failed; the process must be replaced."""

    code = "device_lost"
