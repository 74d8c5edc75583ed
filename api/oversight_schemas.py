"""Bodies of the routes for people who oversee the service: review, appeals, take-downs, holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import JOB_ID
from darkroom.appeals import Appeal
from darkroom.jobs import Job, JobStatus, ReviewStep
from darkroom.judgements import Judgement
from darkroom.legal_hold import Hold
from darkroom.params import MAX_IMAGES, GenerationParams
from darkroom.review import Item
from darkroom.sealing import Sealer
from safety.verdict import Category

MAX_TEXT = 4_000
_CODES = tuple(category.name for category in Category)
Code = Annotated[
    Literal[_CODES],  # type: ignore[valid-type]
    Field(description="The category."),
]
_Note = Annotated[str, Field(max_length=MAX_TEXT, description="For those who read the decision later; sealed.")]
_Fence = Annotated[int, Field(ge=1, description="The number of your lease, from the item.")]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageRuling(_Body):
    """What becomes of one held image."""

    index: Annotated[int, Field(ge=0, lt=MAX_IMAGES)]
    decision: Literal["approve", "block"]


class DecisionRequest(_Body):
    """A decision about every held image of an item."""

    fence: _Fence
    images: Annotated[tuple[ImageRuling, ...], Field(min_length=1, max_length=MAX_IMAGES)]
    code: Code | None = Field(None, description="The category of what is blocked; needed where something is.")
    note: _Note = ""


class EscalationRequest(_Body):
    """Why somebody else should decide."""

    fence: _Fence
    code: Code | None = None
    note: _Note = ""


class AppealRequest(_Body):
    """Why the refusal was wrong."""

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class AppealDecisionRequest(_Body):
    """A decision about an appeal."""

    decision: Literal["granted", "denied"]
    answer: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, description="The reasons, for the owner.")]


class TakedownRequest(_Body):
    """What is to be taken down."""

    job_id: Annotated[str, Field(max_length=64, examples=[JOB_ID])]
    images: Annotated[tuple[int, ...], Field(max_length=MAX_IMAGES)] | None = Field(
        None, description="Indexes; all images of the job by default."
    )
    reason: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, description="Kept in the audit log.")]


class HoldRequest(_Body):
    """Why a job is kept."""

    reason: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


OVERSIGHT_BODIES: tuple[type[BaseModel], ...] = (
    ImageRuling,
    DecisionRequest,
    EscalationRequest,
    AppealRequest,
    AppealDecisionRequest,
    TakedownRequest,
    HoldRequest,
)


class ScoreBody(_Body):
    """What one layer saw of one category."""

    category: str
    layer: str
    score: float


class JudgementBody(_Body):
    """The verdict on the prompt, or on one image."""

    stage: str
    index: int | None
    decision: str
    reason: str | None
    policy: str | None
    scores: tuple[ScoreBody, ...]

    @classmethod
    def from_judgement(cls, judgement: Judgement) -> Self:
        return cls(
            stage=judgement.stage,
            index=judgement.index,
            decision=judgement.decision,
            reason=judgement.reason,
            policy=judgement.policy,
            scores=tuple(ScoreBody(**score._asdict()) for score in judgement.scores),
        )


class StepBody(_Body):
    """One deed in an item's history."""

    at: datetime
    by: str
    action: str
    code: str | None
    note: str

    @classmethod
    def from_step(cls, step: ReviewStep, sealer: Sealer) -> Self:
        note = sealer.open(step.note) if step.note else ""
        return cls(at=_moment(step.at), by=step.by, action=step.action, code=step.code, note=note)


class HeldImage(_Body):
    """An image that waits for a decision."""

    index: int
    width: int
    height: int
    content_type: str
    sha256: str
    href: str = Field(description="The file, for the same key.")


class ItemSummary(_Body):
    """An item of the queue."""

    id: str = Field(examples=[JOB_ID])
    entered_at: datetime
    expires_at: datetime = Field(description="Undecided until then, it is denied.")
    images: int = Field(description="How many wait for a decision.")
    by: str | None = Field(description="Who has it in hand.")
    until: datetime | None
    escalated_by: str | None

    @classmethod
    def from_item(cls, item: Item, *, ttl: int) -> Self:
        return cls(
            id=item.job.id,
            entered_at=_moment(item.entered_at),
            expires_at=_moment(item.entered_at + ttl),
            images=len(item.held),
            by=item.by,
            until=_moment(item.until) if item.until > 1 else None,
            escalated_by=item.escalated_by,
        )


class ItemList(_Body):
    """The first items of the queue, oldest first."""

    items: tuple[ItemSummary, ...]
    waiting: int


class PolicyBody(_Body):
    """What the policy says."""

    label: str
    description: str
    review: float = Field(description="The score from which on an image waits, where its category says nothing else.")
    block: float


class ItemBody(_Body):
    """All that a reviewer needs to decide. Reading it is logged."""

    summary: ItemSummary
    fence: int
    owner: str
    held_because: str | None = Field(
        description="The reason code of the prompt's verdict, where that holds all images."
    )
    params: GenerationParams
    original_prompt: str | None = Field(description="What the caller wrote, where safety changed it.")
    images: tuple[HeldImage, ...]
    findings: tuple[JudgementBody, ...]
    history: tuple[StepBody, ...]
    appeal_of: str | None
    policy: PolicyBody | None = Field(description="Null where the policy is not there any more.")

    @classmethod
    def from_item(cls, item: Item, *, ttl: int, sealer: Sealer, policy: PolicyBody | None) -> Self:
        job = item.job
        return cls(
            summary=ItemSummary.from_item(item, ttl=ttl),
            fence=item.fence,
            owner=job.owner,
            held_because=job.held,
            params=job.params,
            original_prompt=job.original.prompt if job.original else None,
            images=tuple(
                HeldImage(
                    index=image.index,
                    width=image.width,
                    height=image.height,
                    content_type=image.content_type,
                    sha256=image.sha256,
                    href=f"/review/items/{job.id}/images/{image.index}",
                )
                for image in item.held
            ),
            findings=tuple(map(JudgementBody.from_judgement, job.findings)),
            history=tuple(StepBody.from_step(step, sealer) for step in job.review),
            appeal_of=job.appeal_of,
            policy=policy,
        )


class DecidedBody(_Body):
    """How the job stands now."""

    id: str
    status: JobStatus


class AppealBody(_Body):
    """An appeal as its owner sees it."""

    job_id: str = Field(examples=[JOB_ID])
    state: Literal["open", "granted", "denied"]
    filed_at: datetime
    decided_at: datetime | None
    answer: str | None = Field(description="The reasons of the decision.")
    new_job: str | None = Field(description="The job that a granted appeal made.")

    @classmethod
    def from_appeal(cls, appeal: Appeal) -> Self:
        decided = appeal.state != "open"
        return cls(
            job_id=appeal.job_id,
            state=appeal.state,
            filed_at=_moment(appeal.at),
            decided_at=_moment(appeal.decided_at) if appeal.decided_at else None,
            answer=appeal.answer if decided else None,
            new_job=appeal.new_job,
        )


class AppealItem(_Body):
    """An appeal as those see it who decide it. Reading it is logged."""

    appeal: AppealBody
    owner: str
    reason: str = Field(description="The code that the job was refused with.")
    text: str
    refused_by: str | None = Field(description="The person who refused it; null for the service itself.")
    granted_by: str | None = Field(description="Who proposed to grant it; a second person has to agree.")
    params: GenerationParams
    findings: tuple[JudgementBody, ...]

    @classmethod
    def from_parts(cls, appeal: Appeal, job: Job) -> Self:
        return cls(
            appeal=AppealBody.from_appeal(appeal),
            owner=appeal.owner,
            reason=appeal.reason,
            text=appeal.text,
            refused_by=appeal.refused_by,
            granted_by=appeal.granted_by,
            params=job.params,
            findings=tuple(map(JudgementBody.from_judgement, job.findings)),
        )


class AppealList(_Body):
    """The oldest appeals that wait."""

    appeals: tuple[AppealBody, ...]
    waiting: int


class WithheldBody(_Body):
    """What of a job is withheld now."""

    job_id: str
    withheld: tuple[int, ...]


class HoldBody(_Body):
    """A legal hold."""

    job_id: str
    by: str
    at: datetime
    reason: str

    @classmethod
    def from_hold(cls, hold: Hold) -> Self:
        return cls(job_id=hold.job_id, by=hold.by, at=_moment(hold.at), reason=hold.reason)


class HoldList(_Body):
    """Every legal hold, oldest first."""

    holds: tuple[HoldBody, ...]


class SealedEntry(_Body):
    """A job that the rule on minors refused."""

    job_id: str
    at: datetime


class SealedList(_Body):
    """The sealed list, oldest first."""

    jobs: tuple[SealedEntry, ...]


class SealedBody(_Body):
    """One case of the sealed list. Reading it is logged."""

    job_id: str
    owner: str
    created_at: datetime
    params: GenerationParams
    findings: tuple[JudgementBody, ...]

    @classmethod
    def from_job(cls, job: Job) -> Self:
        return cls(
            job_id=job.id,
            owner=job.owner,
            created_at=_moment(job.created_at),
            params=job.params,
            findings=tuple(map(JudgementBody.from_judgement, job.findings)),
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
