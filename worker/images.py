"""One image of a job: what the engine is asked for, and the file that is stored in the end.

Image i of a job uses seed + i. Runs on the job's own thread: encoding and hashing are the slow part here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from darkroom.job_store import Claim
from darkroom.jobs import ImageRecord
from darkroom.object_store import CONTENT_TYPES, output_key, output_prefix
from darkroom.params import GenerationParams
from engine import AdapterUse, GeneratedImage, ImageRequest, SafeGuidance
from engine.safe_guidance import CONCEPT
from safety.policy import Policy, SafetyLevel
from safety.provenance.encode import encode_image
from safety.provenance.manifest import Ingredient
from safety.provenance.phash import looks_of
from safety.provenance.replay import recipe_of
from safety.verdict import Decision
from worker.inputs import JobInputs
from worker.marking import Marking, pixel_digest

_OUTPUTS = "outputs/"
_REVIEW = "review/"
_UNMARKED = Marking()


@dataclass(frozen=True)
class ImageFile:
    """A file ready to be stored, and its line in the job's record."""

    record: ImageRecord
    data: bytes


def image_request(
    params: GenerationParams,
    index: int,
    *,
    inputs: JobInputs,
    deadline: float | None,
    previews: bool,
    safe_guidance: SafeGuidance | None = None,
) -> ImageRequest:
    """Image `index` of the job, as the engine takes it. `deadline` is in time.monotonic() seconds."""
    return ImageRequest(
        prompt=params.prompt,
        negative_prompt=params.negative_prompt,
        width=params.width,
        height=params.height,
        num_inference_steps=params.num_inference_steps,
        guidance_scale=params.guidance_scale,
        scheduler=params.scheduler,
        seed=params.seed + index,
        deadline=deadline,
        guidance_rescale=params.guidance_rescale,
        guidance_stop=params.guidance_stop,
        adapters=tuple(AdapterUse(adapter.name, adapter.scale) for adapter in params.adapters),
        init_image=inputs.init,
        mask_image=inputs.mask,
        strength=params.strength,
        mask_blur=params.mask_blur,
        mask_padding=params.mask_padding,
        preview_every=params.preview_every if previews else 0,
        refiner=params.refiner,
        refiner_start=params.refiner_start,
        safe_guidance=safe_guidance,
    )


def safe_guidance(policy: Policy, params: GenerationParams) -> SafeGuidance | None:
    """What the policy keeps this job's images away from, if anything."""
    chosen = policy.safe_guidance
    if chosen.level == "off":
        return None
    concept = chosen.concept or CONCEPT
    return SafeGuidance.of(chosen.level, concept, num_inference_steps=params.num_inference_steps)


def image_file(
    claim: Claim,
    index: int,
    image: GeneratedImage,
    *,
    decision: Decision,
    marking: Marking = _UNMARKED,
    ingredients: Sequence[Ingredient] = (),
    level: SafetyLevel = "off",
) -> ImageFile:
    """Mark one image, encode it with its recipe inside, sign it; a held one gets a key that only reviewers reach.

    `level` is that of the safe guidance which it was made with.
    """
    params = claim.job.params
    digest = pixel_digest(image.pixels)
    marked = marking.mark(claim.job, index, image.pixels)
    recipe = replace(recipe_of(params, index), pixels=digest, safe_guidance=None if level == "off" else level)
    bare = encode_image(marked, output_format=params.output_format, recipe=recipe)
    content_type = CONTENT_TYPES[params.output_format]
    data = marking.sign(bare, content_type, model=params.model, ingredients=ingredients)
    height, width = image.pixels.shape[:2]  # not always the recipe's: a padded mask's part is put back into its image
    key = output_key(claim.job.id, claim.attempt, index, ending=params.output_format)
    record = ImageRecord(
        index=index,
        key=_held(key) if decision is Decision.REVIEW else key,
        seed=params.seed + index,
        width=width,
        height=height,
        content_type=content_type,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=digest,
        looks=_looks(image),
        decision=decision.value,
    )
    return ImageFile(record, data)


def prefixes(claim: Claim) -> tuple[str, str]:
    """Where an attempt's files can lie."""
    return places(output_prefix(claim.job.id, claim.attempt))


def places(prefix: str) -> tuple[str, str]:
    """The prefix of released files, and the one that held files of the same job or attempt have."""
    return prefix, _held(prefix)


def _looks(image: GeneratedImage) -> str:
    """The perceptual hash by which the image can be barred later; '' for a flat picture."""
    looks = looks_of(image.pixels)
    return "" if looks is None else f"{looks:016x}"


def _held(key: str) -> str:
    return _REVIEW + key.removeprefix(_OUTPUTS)
