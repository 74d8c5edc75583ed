"""Runs the image stage of the safety pipeline on one thread of its own.

Image models are large and their libraries not always thread-safe, so all jobs of the process take turns here while
their pixels wait; the device thread never does. Fail closed is the pipeline's own rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from darkroom.errors import CheckUnavailable
from darkroom.metrics import Metrics
from engine.samples import GeneratedImage
from safety.pipeline import ImageSubject, SafetyPipeline
from safety.verdict import Stage, Verdict


class ImageChecks:
    """The check thread of one process."""

    def __init__(self, pipeline: SafetyPipeline, *, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checks")

    def judge(self, images: Sequence[GeneratedImage]) -> list[Verdict]:
        """One verdict for each image, in the same order.

        Raises:
            CheckUnavailable: a check gave no answer, so none of them may leave.
        """
        subjects = [ImageSubject(image.pixels) for image in images]
        try:
            verdicts = self._thread.submit(self._pipeline.check_images, subjects).result()
        except CheckUnavailable:
            self._metrics.check_errors.labels(Stage.IMAGE).inc()
            raise
        for verdict in verdicts:
            self._metrics.verdicts.labels(Stage.IMAGE, verdict.decision).inc()
        return verdicts

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
