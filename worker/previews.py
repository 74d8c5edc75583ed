"""Shows pictures of unfinished images to those who follow the job, each only after it was checked.

The device thread leaves them here and goes on; of each image only the newest waits, and where the checks are behind,
pictures are dropped. One thread has them judged, behind the finished images, and hands on those that need no person.
Nothing is stored.
"""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from PIL import Image

from darkroom.errors import CheckUnavailable, JobStoreUnavailable
from darkroom.job_store import Claim
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.previews import MOST_SIDE, Preview
from engine.samples import OnPreview
from safety.pipeline import Terms
from safety.verdict import Decision
from worker.image_checks import ImageChecks, Outcome

log = get_logger(__name__)

MOST_WAITING = 16  # images of the process with a picture that was not judged yet
CONTENT_TYPE = "image/jpeg"
QUALITY = 80
#: Hands a preview on; False where the job is somebody else's by now.
Publish = Callable[[Claim, Preview], bool]
_Key = tuple[str, int, int]  # job, attempt, image


@dataclass(frozen=True, eq=False)
class _Picture:
    """What the engine left, and under what it is judged."""

    claim: Claim
    image: int
    step: int
    pixels: np.ndarray  # (h, w, 3) uint8
    terms: Terms


class Previews:
    """The previews of one process."""

    def __init__(self, checks: ImageChecks, *, publish: Publish, metrics: Metrics) -> None:
        self._checks = checks
        self._publish = publish
        self._metrics = metrics
        self._news = threading.Condition()
        self._waiting: dict[_Key, _Picture] = {}
        threading.Thread(target=self._work, name="previews", daemon=True).start()

    def of_image(self, claim: Claim, image: int) -> OnPreview | None:
        """What takes this image's previews, on the device thread; None where nobody may see any."""
        terms = self._checks.terms(claim.job)
        image_policy = terms.policy.image
        if not image_policy.previews or not image_policy.required_checks:  # what must pass nothing was not looked at
            return None
        if claim.job.held is not None:  # a held prompt holds every picture
            return None

        def take(step: int, pixels: np.ndarray) -> None:
            self._leave(_Picture(claim, image, step, pixels, terms))

        return take

    def _leave(self, picture: _Picture) -> None:
        key = (picture.claim.job.id, picture.claim.attempt, picture.image)
        with self._news:
            newer, full = key in self._waiting, len(self._waiting) >= MOST_WAITING
            if newer or not full:
                self._waiting[key] = picture
                self._news.notify()
        if newer or full:
            self._count("dropped")

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting)
                pictures = list(self._waiting.values())
                self._waiting.clear()
            judged = [self._checks.judge_preview(picture.pixels, picture.terms) for picture in pictures]
            for picture, outcomes in zip(pictures, judged, strict=True):
                try:
                    self._count(self._show(picture, outcomes))
                except Exception as error:  # noqa: BLE001 - a bug costs this picture, not all that follow
                    log.error("preview_failed", error=type(error).__name__)  # noqa: TRY400
                    self._count("failed")

    def _show(self, picture: _Picture, outcomes: Future[list[Outcome]]) -> str:
        """What became of it."""
        (outcome,) = outcomes.result()
        if isinstance(outcome, CheckUnavailable):
            return "unchecked"
        if outcome.decision is not Decision.ALLOW:
            return "withheld"
        preview = Preview(
            job=picture.claim.job.id,
            attempt=picture.claim.attempt,
            image=picture.image,
            step=picture.step,
            content_type=CONTENT_TYPE,
            data=base64.b64encode(_encode(picture.pixels)).decode("ascii"),
        )
        try:
            return "shown" if self._publish(picture.claim, preview) else "late"
        except JobStoreUnavailable:
            return "failed"

    def _count(self, outcome: str) -> None:
        self._metrics.previews.labels(outcome).inc()


def _encode(pixels: np.ndarray) -> bytes:
    """A small JPEG without any metadata."""
    assert max(pixels.shape[:2]) <= MOST_SIDE, "a preview is small"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
