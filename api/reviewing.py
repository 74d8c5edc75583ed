"""What a reviewer does, for the API and for the page alike: taking, reading, looking, deciding, each of them logged."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.oversight_schemas import ItemBody, PolicyBody
from api.services import Services
from darkroom.clock import unix_time
from darkroom.cost_metrics import CostMetrics
from darkroom.errors import ConfigurationError
from darkroom.jobs import JobStatus
from darkroom.review import Item, Ruling


async def take(services: Services, person: str, job_id: str | None = None) -> ItemBody | None:
    """Take an item in hand, the next one by default."""
    oversight = services.oversight
    seconds = oversight.rules.review_lease_seconds
    item = await run_in_threadpool(oversight.queue.lease, person, seconds=seconds, job_id=job_id)
    return None if item is None else await _opened(services, person, item)


async def open_item(services: Services, person: str, job_id: str) -> ItemBody:
    """Read an item, in whoever's hands it is."""
    return await _opened(services, person, await run_in_threadpool(services.oversight.queue.read, job_id))


async def open_image(services: Services, person: str, job_id: str, index: int) -> Response:
    """A held image's file. The answer may not be kept, framed, or say where it was seen."""
    image, data = await run_in_threadpool(services.oversight.queue.image, job_id, index)
    await services.oversight.log.append(person, "review.image", job_id, {"index": index, "sha256": image.sha256})
    headers = {"Content-Disposition": "inline", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(data, media_type=image.content_type, headers=headers)


async def decide(services: Services, person: str, job_id: str, ruling: Ruling, *, fence: int) -> JobStatus:
    """End an item."""
    queue, metrics = services.oversight.queue, services.metrics
    entered = await run_in_threadpool(queue.entered_at, job_id)
    status = await run_in_threadpool(queue.decide, job_id, ruling, person=person, fence=fence)
    if entered is None:  # the same decision again
        return status
    metrics.review_time.observe(max(unix_time() - entered, 0.0))
    for approved in ruling.approved.values():
        metrics.review_decisions.labels("approved" if approved else "blocked").inc()
    if status is JobStatus.SUCCEEDED:
        CostMetrics(metrics, services.owner_labels).note_release(await services.jobs.find(job_id))
    return status


async def escalate(services: Services, person: str, job_id: str, *, fence: int, code: str | None, note: str) -> None:
    """Leave an item to somebody else."""
    queue = services.oversight.queue
    await run_in_threadpool(queue.escalate, job_id, person=person, fence=fence, code=code, note=note)
    services.metrics.review_decisions.labels("escalated").inc()


async def _opened(services: Services, person: str, item: Item) -> ItemBody:
    await services.oversight.log.append(person, "review.read", item.job.id)
    ttl = services.oversight.rules.review_ttl_seconds
    policy = _policy(services, item.job.policy)
    return ItemBody.from_item(item, ttl=ttl, sealer=services.sealer, policy=policy)


def _policy(services: Services, label: str | None) -> PolicyBody | None:
    """The policy that judged the job, or the one of that name as it is now."""
    try:
        policy = services.policies.at(label)
    except ConfigurationError:
        return None
    bars = policy.image.default
    return PolicyBody(label=policy.label, description=policy.description, review=bars.review, block=bars.block)
