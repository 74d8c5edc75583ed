"""Makes valid values for tests; each takes what a test wants different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darkroom.catalogue import Catalogue, ModelSpec, Source
from darkroom.job_ids import new_job_id
from darkroom.job_store import Claim, JobStore
from darkroom.jobs import ImageRecord, Job, JobStatus, Tier
from darkroom.params import GenerationParams
from darkroom.worker_registry import WorkerState


def make_params(**changes: Any) -> GenerationParams:
    values: dict[str, Any] = {
        "prompt": "a red circle on a blue background",
        "negative_prompt": "",
        "model": "tiny",
        "width": 128,
        "height": 128,
        "num_inference_steps": 25,
        "guidance_scale": 5.0,
        "scheduler": "dpmpp_2m",
        "seed": 7,
        "num_images": 1,
        "output_format": "png",
    }
    return GenerationParams(**(values | changes))


def make_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": new_job_id(),
        "owner": "ada",
        "status": JobStatus.QUEUED,
        "tier": Tier.STANDARD,
        "params": make_params(),
        "created_at": 0.0,
    }
    return Job(**(values | changes))


def make_image(**changes: Any) -> ImageRecord:
    values: dict[str, Any] = {
        "index": 0,
        "key": "outputs/job/1/0.png",
        "seed": 7,
        "width": 128,
        "height": 128,
        "content_type": "image/png",
        "bytes": 100,
        "sha256": "0" * 64,
    }
    return ImageRecord(**(values | changes))


def make_worker_state(**changes: Any) -> WorkerState:
    values: dict[str, Any] = {
        "name": "w1",
        "tiers": ("preview", "standard", "quality"),
        "device": "cpu",
        "models": ("tiny",),
        "places": 16,
        "jobs": 2,
        "samples": 3,
        "waiting": 1,
        "rows": 6,
        "max_rows": 16,
        "steps": 40,
    }
    return WorkerState(**(values | changes))


def make_model(**changes: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "name": "tiny",
        "source": Source(folder=Path("models/tiny")),
        "licence": "Apache-2.0",
        "native_sizes": ((128, 128),),
        "max_side": 256,
        "max_pixels": 256 * 192,
        "guidance_scale": 5.0,
    }
    return ModelSpec(**(values | changes))


def make_catalogue(*models: ModelSpec) -> Catalogue:
    listed = models or (make_model(),)
    return Catalogue(models={model.name: model for model in listed}, default=listed[0].name)


def claim_next(store: JobStore, **changes: Any) -> Claim | None:
    values: dict[str, Any] = {
        "tier": Tier.STANDARD,
        "worker": "w1",
        "nonce": new_job_id(),
        "lease_seconds": 30.0,
        "models": None,
    }
    return store.claim(**(values | changes))


def run_one(store: JobStore, **changes: Any) -> Claim:
    """Claim the next job, which must be there."""
    claim = claim_next(store, **changes)
    assert claim is not None
    return claim


def submit_job(store: JobStore, *, deadline_seconds: int | None = None, **changes: Any) -> Job:
    return store.submit(make_job(**changes), deadline_seconds=deadline_seconds).job


def read_job(store: JobStore, job: Job) -> Job:
    return store.get(job.id, owner=job.owner)
