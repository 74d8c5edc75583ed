"""The job record as Redis holds it: a hash of strings, and back.

Structured fields are JSON. Prompts are sealed, together with the job's id, so that they can't be moved to another
record; records of schema 2 hold them open. The record has fields that only the scripts use (place, cost, lease,
nonce, deaths). A record with a higher `schema` is still readable: fields of its recipe that this code does not know are
left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from darkroom.costs import Cost, Price
from darkroom.errors import SealBroken
from darkroom.jobs import SCHEMA, ImageRecord, Job, JobError, JobStatus, Progress, ReviewStep, Texts, Tier
from darkroom.judgements import Waived, decode_judgements, encode_judgements
from darkroom.owners import OwnerSettings
from darkroom.params import GenerationParams, WebhookChoice
from darkroom.sealing import Sealer

SEALED = {"prompt", "negative_prompt"}  # fields of the recipe


def encode_job(
    job: Job,
    sealer: Sealer | None = None,
    *,
    retention_seconds: int | None = None,
    terms: OwnerSettings | None = None,
) -> dict[str, str]:
    """The fields of a new record; the submit script adds its times and its place. Without a sealer prompts lie open."""
    terms = terms or OwnerSettings()
    params, sealed = encode_texts(job, sealer)
    return {
        "id": job.id,
        "schema": str(job.schema),
        "owner": job.owner,
        "status": job.status.value,
        "tier": job.tier.value,
        "model": job.params.model,
        "shape": f"{job.params.width}x{job.params.height}",
        "cost": str(cost(job.params)),
        "priority": str(job.priority),
        "weight": str(terms.weight),
        "max_running": "" if terms.max_running is None else str(terms.max_running),
        "params": params,
        "sealed": sealed,
        "attempt": str(job.attempt),
        "transient": "0",
        "lost": "0",
        "strikes": "0",
        "shared_deaths": "0",
        "step": str(job.progress.step),
        "steps": str(job.progress.steps),
        "images": encode_images(job.images),
        "error": encode_error(job.error),
        "warnings": json.dumps(list(job.warnings)),
        "metadata": json.dumps(dict(job.metadata)),
        "policy": job.policy or "",
        "held": job.held or "",
        "webhook": _encode_webhook(job.webhook, sealer),
        "original": encode_original(job, sealer),
        "key": job.key or "",
        "cancel_requested": "1" if job.cancel_requested else "0",
        "findings": encode_judgements(job.findings),
        "appeal_of": job.appeal_of or "",
        "waived": json.dumps(job.waived),
        "review": json.dumps([asdict(step) for step in job.review]),
        "withheld": json.dumps(job.withheld),
        "region": job.region,
        "request_id": job.request_id,
        "traceparent": job.traceparent,
        **{name: str(count) for name, count in asdict(job.cost).items()},
        "price": "" if job.price is None else str(job.price),
        "retention": "" if retention_seconds is None else str(retention_seconds),
        "route": job.route or "",
        "shadow": "1" if job.shadow else "",
        "rating": "" if job.rating is None else str(job.rating),
    }


def decode_job(record: Mapping[str, str], sealer: Sealer | None = None) -> Job:
    """The job of a whole record.

    Raises:
        SealBroken: its prompts are sealed with another key, or for another job.
    """
    schema = int(record["schema"])
    return Job(
        id=record["id"],
        owner=record["owner"],
        status=JobStatus(record["status"]),
        tier=Tier(record["tier"]),
        params=_params(json.loads(record["params"]) | _open(record, sealer), schema),
        created_at=float(record["created_at"]),
        attempt=int(record["attempt"]),
        started_at=_time(record, "started_at"),
        finished_at=_time(record, "finished_at"),
        deadline_at=_time(record, "deadline_at"),
        progress=Progress(step=int(record["step"]), steps=int(record["steps"])),
        images=tuple(ImageRecord(**image) for image in json.loads(record["images"])),
        error=JobError(**json.loads(record["error"])) if record["error"] else None,
        warnings=tuple(json.loads(record["warnings"])),
        metadata=json.loads(record["metadata"]),
        policy=record["policy"] or None,
        held=record["held"] or None,
        cancel_requested=record["cancel_requested"] == "1",
        webhook=_decode_webhook(record, sealer),
        original=_decode_original(record, sealer),
        key=record.get("key") or None,
        priority=int(record.get("priority", 0)),
        findings=decode_judgements(record.get("findings", "")),
        review=tuple(ReviewStep(**step) for step in json.loads(record.get("review") or "[]")),
        appeal_of=record.get("appeal_of") or None,
        waived=tuple(Waived(*pair) for pair in json.loads(record.get("waived") or "[]")),
        withheld=tuple(json.loads(record.get("withheld") or "[]")),
        route=record.get("route") or None,
        shadow=record.get("shadow") == "1",
        rating=int(record["rating"]) if record.get("rating") else None,
        region=record.get("region", ""),
        request_id=record.get("request_id", ""),
        traceparent=record.get("traceparent", ""),
        price=Price.parse(record.get("price", "")),
        cost=_decode_cost(record),
        schema=schema,
    )


def decode_flat(flat: Sequence[str], sealer: Sealer | None = None) -> Job:
    """The job of a record as a script gives it."""
    return decode_job(read_flat(flat), sealer)


def read_flat(flat: Sequence[str]) -> Mapping[str, str]:
    """A record as HGETALL gives it inside a script: field, value, field, value."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def encode_images(images: Sequence[ImageRecord]) -> str:
    return json.dumps([asdict(image) for image in images])


def encode_error(error: JobError | None) -> str:
    return json.dumps(asdict(error)) if error else ""


def cost(params: GenerationParams) -> int:
    """What a job takes of a device, in step-pixels."""
    steps = max(int(params.num_inference_steps * params.strength), 1)
    return params.num_images * steps * params.width * params.height


def megapixel_steps(params: GenerationParams, *, images: int) -> float:
    """What so many of a job's images took, in megapixels times steps."""
    return cost(params) / params.num_images * images / 1_000_000


def _params(raw: dict[str, Any], schema: int) -> GenerationParams:
    if schema > SCHEMA:
        raw = {name: value for name, value in raw.items() if name in GenerationParams.model_fields}
    return GenerationParams.model_validate(raw)


def encode_texts(job: Job, sealer: Sealer | None) -> tuple[str, str]:
    """The record's fields `params` and `sealed`: the recipe, and the texts in it where they are sealed."""
    return job.params.model_dump_json(exclude=SEALED if sealer else None), _seal(job, sealer) if sealer else ""


def encode_original(job: Job, sealer: Sealer | None) -> str:
    """What the caller wrote where safety changed it, sealed like the prompt."""
    if job.original is None:
        return ""
    text = json.dumps({"job": job.id, **asdict(job.original)})
    return sealer.seal(text) if sealer else text


def _decode_original(record: Mapping[str, str], sealer: Sealer | None) -> Texts | None:
    stored = record.get("original")
    if not stored:
        return None
    fields: dict[str, str] = json.loads(sealer.open(stored) if sealer and record.get("sealed") else stored)
    if fields.pop("job") != record["id"]:
        raise SealBroken
    return Texts(**fields)


def _seal(job: Job, sealer: Sealer) -> str:
    return sealer.seal(json.dumps({"job": job.id, **job.params.model_dump(mode="json", include=SEALED)}))


def _open(record: Mapping[str, str], sealer: Sealer | None) -> dict[str, Any]:
    """The sealed fields of the recipe; none where they lie open."""
    sealed = record.get("sealed")
    if not sealed:
        return {}
    if sealer is None:
        raise SealBroken
    fields: dict[str, Any] = json.loads(sealer.open(sealed))
    if fields.pop("job") != record["id"]:
        raise SealBroken
    return fields


def _encode_webhook(webhook: WebhookChoice | None, sealer: Sealer | None) -> str:
    """The scripts read `events`; the URL, which may hold a token, is for the delivery alone."""
    if webhook is None:
        return ""
    return json.dumps({"url": sealer.seal(webhook.url) if sealer else webhook.url, "events": webhook.events})


def _decode_webhook(record: Mapping[str, str], sealer: Sealer | None) -> WebhookChoice | None:
    if not record.get("webhook"):
        return None
    stored = json.loads(record["webhook"])
    url = sealer.open(stored["url"]) if sealer and record.get("sealed") else stored["url"]
    return WebhookChoice.model_construct(url=url, events=tuple(stored["events"]))


def _decode_cost(record: Mapping[str, str]) -> Cost:
    """Nothing where no attempt has ended, and in older records."""
    return Cost(**{name: int(record.get(name) or 0) for name in ("device_us", "billed_us", "spent", "billed")})


def _time(record: Mapping[str, str], name: str) -> float | None:
    text = record.get(name)
    return float(text) if text else None
