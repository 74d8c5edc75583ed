"""From a valid request to a stored job: resolve, check the prompt, store its images, write the record, issue a ticket.

A prompt that safety refuses becomes a job that is born blocked: it has a record and a reason, but no ticket, and its
images are not kept. A prompt that safety could not check is stored nowhere. Knows no HTTP.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from dataclasses import dataclass

import anyio
import anyio.to_thread

from api import shadows
from api.cost_schemas import QuoteBody
from api.inputs import InputStore
from api.model_routes import Routed, route
from api.prompt_stage import PromptStage
from api.services import Services
from api.ticket_desk import TicketDesk
from api.uploads import Upload
from darkroom.capabilities import InputImages
from darkroom.costs import Price
from darkroom.errors import (
    FieldProblem,
    InvalidParams,
    InvalidRequest,
    JobStoreUnavailable,
    Overloaded,
)
from darkroom.job_ids import new_job_id
from darkroom.job_store import IdempotencyKey, Submitted
from darkroom.jobs import Job, JobError, JobStatus, Texts, Tier
from darkroom.keys import ApiKey
from darkroom.logs import bind_job, current_request_id, get_logger
from darkroom.params import GenerationParams, GenerationRequest
from darkroom.resolve import resolve
from darkroom.routing import AliasSpec
from darkroom.tracing import Step, span, traceparent
from darkroom.webhook_urls import BadWebhookUrl, read_webhook_url
from safety.judging import judgement_of, near_miss_weight
from safety.rewriting import with_texts
from safety.verdict import Decision, Stage, Verdict

SEEDS = 2**32  # drawn seeds stay in the range that every other tool accepts
log = get_logger(__name__)
_NO_PREVIEWS = "previews are off for you; preview_every has no effect"
_BLOCKED = "The prompt was refused by the content policy."


@dataclass(frozen=True)
class _Prepared:
    params: GenerationParams
    warnings: tuple[str, ...]
    verdict: Verdict
    original: Texts | None  # where the verdict changed them
    alias: AliasSpec | None  # that the request asked for


class Submission:
    """Turns requests into jobs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._inputs = InputStore(services.objects, services.verification, services.sealer)
        self._prompts = PromptStage(services)
        self._desk = TicketDesk(services.tickets, services.metrics)

    async def submit(self, upload: Upload, *, key: ApiKey, idempotency_key: str | None) -> Submitted:
        """Store the job, or find the one that the same key stored before.

        Raises:
            InvalidParams: the model can't do what is asked, a file is no picture, or a webhook may not be used.
            CheckUnavailable: safety gave no verdict.
            IdempotencyMismatch: the key came before with another body.
            OwnerSuspended, QuotaExceeded, Overloaded: this owner, or the service, takes no more for now.
        """
        request, job_id, owner = upload.request, new_job_id(), key.owner
        self._require_usable_webhook(request)
        inputs = await self._inputs.decode(job_id, upload.files)
        prepared = await anyio.to_thread.run_sync(self._prepare, request, owner, job_id, inputs.images)
        terms, idempotency = self._services.owners.of(owner), _idempotency(request, idempotency_key)
        price = self._services.prices.of(prepared.params.model, plan=terms.plan)
        job = _new_job(job_id, request, prepared, key=key, price=price)
        if inputs.files and job.status is JobStatus.QUEUED:
            await self._services.jobs.require_room(job, idempotency=idempotency, terms=terms)
            await self._inputs.put(inputs)
        try:
            submitted = await self._services.jobs.submit(
                job, idempotency=idempotency, deadline_seconds=request.deadline_seconds, terms=terms
            )
        except InvalidRequest:  # nothing was stored; after an outage the record may be there, so then they stay
            await self._inputs.discard(job_id, inputs)
            raise
        except Overloaded:
            await self._inputs.discard(job_id, inputs)
            raise
        if submitted.replayed:
            await self._inputs.discard(job_id, inputs)
        else:
            self._note(submitted.job)
            if submitted.job.status is JobStatus.QUEUED:
                self._desk.ask(submitted.job.tier)
            shadow = await shadows.follow(submitted.job, prepared.alias, self._services)
            if shadow is not None:
                self._desk.ask(shadow.tier)
            await self._note_near_miss(key, prepared.verdict)
        return submitted

    async def close(self) -> None:
        """Return when the tickets of all stored jobs are issued, or refused."""
        await self._desk.close()

    async def quote(self, upload: Upload, *, key: ApiKey) -> QuoteBody:
        """What the job would take; nothing is stored, and no check reads the prompt.

        Raises:
            InvalidParams: the model can't do what is asked, or a file is no picture.
            OwnerSuspended, QuotaExceeded, Overloaded: it would not be taken now.
        """
        request, job_id, services = upload.request, new_job_id(), self._services
        inputs = await self._inputs.decode(job_id, upload.files)
        params, warnings, _ = await anyio.to_thread.run_sync(self._resolved, request, key.owner, job_id, inputs.images)
        terms = services.owners.of(key.owner)
        job = Job(
            id=job_id,
            owner=key.owner,
            status=JobStatus.QUEUED,
            tier=Tier(request.tier),
            params=params,
            created_at=0.0,
            warnings=warnings,
            price=services.prices.of(params.model, plan=terms.plan),
        )
        await services.jobs.require_room(job, terms=terms)
        return QuoteBody.from_quote(await services.jobs.quote(params, job.tier), job)

    def _prepare(self, request: GenerationRequest, owner: str, job_id: str, images: InputImages) -> _Prepared:
        """The part that may block: a tokenizer is read from disk, checks compute."""
        services = self._services
        policy = self._prompts.policy_for(owner, request.policy)
        params, warnings, routed = self._resolved(request, owner, job_id, images)
        with span(Step.CHECK_PROMPT):
            verdict = self._prompts.judge(params, policy)
        allowed = policy.image.previews and services.owners.of(owner).previews
        if params.preview_every and not allowed:
            params = params.model_copy(update={"preview_every": 0})
            warnings = (*warnings, _NO_PREVIEWS)
        if verdict.rewrite is None:
            return _Prepared(params, warnings, verdict, None, routed.alias)
        original = Texts(params.prompt, params.negative_prompt)
        return _Prepared(with_texts(params, verdict.rewrite), warnings, verdict, original, routed.alias)

    def _resolved(
        self, request: GenerationRequest, owner: str, job_id: str, images: InputImages
    ) -> tuple[GenerationParams, tuple[str, ...], Routed]:
        """The recipe, what is unwise in it, and which way its model was chosen."""
        catalogue = self._services.catalogue
        routed = route(request.model, catalogue, self._services.board, owner=owner, job=job_id)
        complete = functools.partial(
            resolve,
            catalogue=catalogue,
            owner=owner,
            images=images,
            draw_seed=lambda: secrets.randbelow(SEEDS),
            read_prompt=self._services.prompts.read,
        )
        params, warnings = routed.first_able(request, complete)
        return params, warnings, routed

    def _require_usable_webhook(self, request: GenerationRequest) -> None:
        if request.webhook is None:
            return
        try:
            read_webhook_url(request.webhook.url, self._services.webhooks.rules)
        except BadWebhookUrl as error:
            raise InvalidParams([FieldProblem("webhook.url", str(error))]) from None

    async def _note_near_miss(self, key: ApiKey, verdict: Verdict) -> None:
        weight = near_miss_weight(verdict)
        if not weight:
            return
        try:
            count = await self._services.near_misses.note(key.id, weight)
        except JobStoreUnavailable:  # the job is stored, so the answer is known
            log.warning("near_miss_not_counted", key=key.id)
        else:
            log.info("near_miss", key=key.id, count=round(count, 2))

    def _note(self, job: Job) -> None:
        metrics = self._services.metrics
        metrics.jobs_submitted.labels(str(job.tier), job.params.model).inc()
        if job.status is JobStatus.BLOCKED:
            metrics.jobs_ended.labels(str(job.status), str(job.tier), job.params.model).inc()
            metrics.owner_jobs.labels(self._services.owner_labels.of(job.owner), str(job.status)).inc()
        with bind_job(job.id):
            log.info("job_submitted", status=str(job.status), tier=str(job.tier), model=job.params.model)


def _new_job(job_id: str, request: GenerationRequest, prepared: _Prepared, *, key: ApiKey, price: Price | None) -> Job:
    verdict = prepared.verdict
    blocked = verdict.decision is Decision.BLOCK
    return Job(
        id=job_id,
        owner=key.owner,
        key=key.id,
        status=JobStatus.BLOCKED if blocked else JobStatus.QUEUED,
        tier=Tier(request.tier),
        params=prepared.params,
        created_at=0.0,  # the store's clock sets it
        error=JobError(verdict.reason or "prompt_blocked", _BLOCKED) if blocked else None,
        warnings=prepared.warnings,
        metadata=request.metadata,
        priority=request.priority,
        webhook=request.webhook,
        policy=verdict.policy,
        original=prepared.original,
        findings=(judgement_of(verdict, Stage.PROMPT),),
        held=(verdict.reason or "prompt_review") if verdict.decision is Decision.REVIEW else None,
        route=prepared.alias.route if prepared.alias else None,
        request_id=current_request_id(),
        traceparent=traceparent(),
        price=price,
    )


def _idempotency(request: GenerationRequest, key: str | None) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey(key=key, fingerprint=fingerprint(request))


def fingerprint(request: GenerationRequest) -> str:
    """Equal for two bodies that say the same, however they are spaced and ordered."""
    said = request.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
