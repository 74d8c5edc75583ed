"""Previews: shown to those who follow the job after every check passed, and in no other case."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import redis
from PIL import Image

from darkroom.errors import JobStoreUnavailable
from darkroom.job_store import Claim
from darkroom.metrics import Metrics
from darkroom.previews import CHANNEL, MOST_SIDE, Preview
from safety.pipeline import Check, ImageSubject, SafetyPipeline
from safety.policy import Policy, load_policy
from safety.verdict import Category, Finding, Stage
from tests.fixtures.processes import eventually
from tests.worker.workshop import Workshop
from worker.image_checks import ImageChecks
from worker.previews import MOST_WAITING, Previews

DEFAULT = load_policy("default")


def with_image(**changes: Any) -> Policy:
    """The default policy with another image stage."""
    return DEFAULT.model_copy(update={"image": DEFAULT.image.model_copy(update=changes)})


OPEN = with_image(previews=True, required_checks=("score",))
PIXELS = np.full((96, 128, 3), 90, np.uint8)


@dataclass
class Score:
    """Gives every image this score, or no answer."""

    score: float = 0.0
    name: str = "score"
    stage: Stage = Stage.IMAGE
    open: threading.Event = field(default_factory=threading.Event)
    began: int = 0

    def __post_init__(self) -> None:
        self.open.set()

    def run(self, _subject: ImageSubject) -> list[Finding]:
        self.began += 1
        assert self.open.wait(10)
        return [Finding(Category.custom, self.score, self.name)]


class Desk:
    """Previews over one check, and what was published."""

    def __init__(self, *checks: Check[ImageSubject], policy: Policy = OPEN, current: bool = True) -> None:
        self.published: list[Preview] = []
        self.metrics = Metrics()
        self.current = current
        pipeline = SafetyPipeline(policy=policy, image_checks=checks)
        image_checks = ImageChecks(pipeline, metrics=self.metrics)
        self.previews = Previews(image_checks, publish=self._publish, metrics=self.metrics)

    def _publish(self, _claim: Claim, preview: Preview) -> bool:
        self.published.append(preview)
        return self.current

    def leave(self, claim: Claim, *, image: int = 0, step: int = 5, pixels: np.ndarray = PIXELS) -> None:
        take = self.previews.of_image(claim, image)
        assert take is not None
        take(step, pixels)

    def count(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("darkroom_previews_total", {"outcome": outcome}) or 0.0


@pytest.fixture
def claim(shop: Workshop) -> Claim:
    shop.submit(preview_every=2)
    return shop.claim()


def test_a_checked_picture_is_published_as_a_small_jpeg_without_metadata(claim: Claim) -> None:
    desk = Desk(Score())

    desk.leave(claim, image=1, step=6)

    eventually(lambda: desk.count("shown") == 1)
    (preview,) = desk.published
    assert (preview.job, preview.attempt, preview.image, preview.step) == (claim.job.id, claim.attempt, 1, 6)
    with Image.open(io.BytesIO(base64.b64decode(preview.data))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (128, 96))
        assert not picture.getexif()
        assert np.abs(np.asarray(picture, np.int16) - 90).max() <= 2
    assert preview.data not in repr(preview)


@pytest.mark.parametrize(
    ("checks", "outcome"),
    [
        ([Score(0.01)], "withheld"),
        ([Score(0.9)], "withheld"),
        ([Score(), Score(0.02, name="second")], "withheld"),
        ([Score(float("nan"))], "unchecked"),
        ([], "unchecked"),
    ],
    ids=["at the review bar", "blocked", "one of two", "no answer", "no checks"],
)
def test_what_is_not_below_every_bar_is_shown_to_nobody(checks: list[Score], outcome: str, claim: Claim) -> None:
    desk = Desk(*checks)

    desk.leave(claim)

    eventually(lambda: desk.count(outcome) == 1)
    assert desk.published == []


@pytest.mark.parametrize(
    "policy",
    [DEFAULT, with_image(required_checks=("score",)), with_image(previews=True)],
    ids=["nothing said", "not allowed", "no check required"],
)
def test_no_previews_are_made_where_the_policy_allows_none_or_requires_no_check(policy: Policy, claim: Claim) -> None:
    assert Desk(Score(), policy=policy).previews.of_image(claim, 0) is None


def test_no_previews_are_made_of_a_job_whose_prompt_is_held(shop: Workshop) -> None:
    shop.submit(preview_every=2, held="prompt_violence")

    assert Desk(Score()).previews.of_image(shop.claim(), 0) is None


def test_where_checks_are_behind_the_device_thread_goes_on_and_only_the_newest_waits(claim: Claim) -> None:
    check = Score()
    check.open.clear()
    desk = Desk(check)
    desk.leave(claim, step=1)
    eventually(lambda: check.began == 1)

    for step in range(2, 9):
        desk.leave(claim, step=step)
    for image in range(1, MOST_WAITING + 2):
        desk.leave(claim, image=image)
    check.open.set()

    eventually(lambda: desk.count("shown") == 1 + MOST_WAITING)
    assert [preview.step for preview in desk.published if preview.image == 0] == [1, 8]
    assert desk.count("dropped") == 6 + 2


def test_a_picture_of_an_attempt_that_is_over_is_late(claim: Claim) -> None:
    desk = Desk(Score(), current=False)

    desk.leave(claim)

    eventually(lambda: desk.count("late") == 1)


def test_an_outage_or_a_bug_costs_one_picture_and_not_the_next(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(Score())
    for error in (JobStoreUnavailable(), ValueError("a bug")):
        with monkeypatch.context() as patched:
            patched.setattr(desk.previews, "_publish", _raising(error))
            before = desk.count("failed")
            desk.leave(claim)
            eventually(lambda before=before: desk.count("failed") == before + 1)  # type: ignore[misc]
    desk.leave(claim)
    eventually(lambda: desk.count("shown") == 1)


def _raising(error: Exception) -> Any:
    def publish(*_: object) -> bool:
        raise error

    return publish


def test_a_picture_that_is_too_large_goes_nowhere(claim: Claim) -> None:
    desk = Desk(Score())

    desk.leave(claim, pixels=np.zeros((MOST_SIDE + 1, 8, 3), np.uint8))

    eventually(lambda: desk.count("failed") == 1)
    assert desk.published == []


@pytest.fixture
def heard(redis_client: redis.Redis) -> Iterator[Any]:
    client: Any = redis_client  # the library leaves this method untyped
    with client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(CHANNEL)
        subscription.get_message(timeout=1)
        yield subscription


def test_a_running_jobs_previews_come_from_the_engine_and_are_stored_nowhere(
    shop: Workshop, heard: Any, redis_client: redis.Redis
) -> None:
    checks = ImageChecks(SafetyPipeline(policy=OPEN, image_checks=[Score()]), metrics=shop.metrics)
    shop.previews = Previews(checks, publish=shop.jobs.preview, metrics=shop.metrics).of_image
    job = shop.submit(num_inference_steps=30, preview_every=1)

    shop.run()

    eventually(lambda: shop.count("darkroom_previews_total", outcome="shown") >= 1)
    message = heard.get_message(timeout=5)
    assert job.id in message["data"]
    data = message["data"].split('"data":"')[1][:60]
    kept = [repr(redis_client.dump(key)) for key in redis_client.scan_iter("*")]
    assert not any(data in each for each in kept)
    assert not any("preview" in key for key in redis_client.scan_iter("*"))


def test_the_script_drops_what_comes_of_an_attempt_that_is_over(shop: Workshop, claim: Claim, heard: Any) -> None:
    preview = Preview(claim.job.id, claim.attempt, image=0, step=1, content_type="image/jpeg", data="AAAA")

    assert shop.jobs.preview(claim, preview)
    shop.jobs.cancel(claim.job.id, owner=claim.job.owner)
    assert not shop.jobs.preview(claim, preview)

    assert heard.get_message(timeout=5)["data"] == preview.as_message()
    assert heard.get_message(timeout=0.1) is None
