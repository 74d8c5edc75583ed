"""The check thread: one verdict an image, many jobs in one go, finished images before previews."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from darkroom.errors import CheckUnavailable
from darkroom.jobs import Job
from darkroom.metrics import Metrics
from engine import GeneratedImage
from safety.pipeline import ImageSubject, SafetyPipeline, Terms
from safety.policy import Thresholds, load_policy
from safety.policy_set import Policies
from safety.verdict import Category, Decision, Finding, Stage
from tests.darkroom.factories import make_job
from tests.fixtures.processes import eventually
from worker.image_checks import MOST_IMAGES, ImageChecks

STRICT = load_policy("strict")
DEFAULT = load_policy("default")
SECONDS = 10


@dataclass
class Gate:
    """Scores each image by its brightness, all that it is given at once; may be kept shut."""

    name: str = "gate"
    stage: Stage = Stage.IMAGE
    open: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list)

    def run(self, subject: ImageSubject) -> list[Finding]:
        return self.run_batch([subject])[0]

    def run_batch(self, subjects: Sequence[ImageSubject]) -> list[list[Finding]]:
        levels = [int(subject.pixels.max()) for subject in subjects]
        self.batches.append(levels)
        assert self.open.wait(SECONDS)
        if 255 in levels:
            raise ValueError("too bright")
        return [[Finding(Category.custom, level / 1000, self.name)] for level in levels]


def flat(level: int) -> GeneratedImage:
    return GeneratedImage(np.full((8, 8, 3), level, np.uint8), steps=1, run_seconds=0.1, rows_mean=1.0)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def checks(gate: Gate, metrics: Metrics) -> ImageChecks:
    return ImageChecks(SafetyPipeline(policy=DEFAULT, image_checks=[gate]), metrics=metrics)


def while_the_gate_is_shut(gate: Gate, checks: ImageChecks, works: Sequence[Callable[[], object]]) -> list[object]:
    """Each work's result or error; all of them began while the first batch was under way."""
    with ThreadPoolExecutor(1 + len(works)) as pool:
        first = pool.submit(checks.judge, [flat(1)])
        eventually(lambda: gate.batches == [[1]])
        futures = [pool.submit(work) for work in works]
        eventually(lambda: len(checks._finished) + len(checks._previews) == len(works))
        gate.open.set()
        first.result(SECONDS)
        return [future.exception(SECONDS) or future.result() for future in futures]


def decisions(verdicts: object) -> list[Decision]:
    assert isinstance(verdicts, list)
    return [verdict.decision for verdict in verdicts]


def test_each_image_has_a_verdict_of_its_own_in_order(gate: Gate, checks: ImageChecks, metrics: Metrics) -> None:
    gate.open.set()

    verdicts = checks.judge([flat(0), flat(60), flat(20)])

    assert decisions(verdicts) == [Decision.ALLOW, Decision.BLOCK, Decision.REVIEW]
    assert metrics.registry.get_sample_value("darkroom_verdicts_total", {"stage": "image", "decision": "block"}) == 1


def test_what_waits_is_judged_in_one_go_across_jobs(gate: Gate, checks: ImageChecks) -> None:
    jobs = [[flat(0), flat(60)], [flat(20)], [flat(2)]]

    results = while_the_gate_is_shut(gate, checks, [lambda each=each: checks.judge(each) for each in jobs])  # type: ignore[misc]

    assert sorted(gate.batches[1]) == [0, 2, 20, 60]
    assert len(gate.batches) == 2
    assert [decisions(result) for result in results] == [
        [Decision.ALLOW, Decision.BLOCK], [Decision.REVIEW], [Decision.ALLOW],
    ]  # fmt: skip


def test_one_go_takes_so_many_images_and_no_job_is_split(gate: Gate, checks: ImageChecks) -> None:
    jobs = [[flat(level)] * 6 for level in (3, 4, 5)]

    while_the_gate_is_shut(gate, checks, [lambda each=each: checks.judge(each) for each in jobs])  # type: ignore[misc]

    assert [len(batch) for batch in gate.batches] == [1, 12, 6]
    assert MOST_IMAGES == 16


def test_images_of_one_go_are_each_judged_under_their_own_policy(gate: Gate, checks: ImageChecks) -> None:
    score = 6  # 0.006: the default holds from 0.01 on
    bars = Thresholds(review=0.005, block=0.02)
    narrow = DEFAULT.model_copy(update={"image": DEFAULT.image.model_copy(update={"default": bars})})

    default, strict = while_the_gate_is_shut(
        gate, checks, [lambda: checks.judge([flat(score)]), lambda: checks.judge([flat(score)], Terms(narrow))]
    )

    assert decisions(default) == [Decision.ALLOW]
    assert decisions(strict) == [Decision.REVIEW]
    assert len(gate.batches) == 2


def test_an_image_that_no_check_can_look_at_holds_up_its_own_job_alone(
    gate: Gate, checks: ImageChecks, metrics: Metrics
) -> None:
    broken, well = while_the_gate_is_shut(
        gate, checks, [lambda: checks.judge([flat(0), flat(255)]), lambda: checks.judge([flat(0)])]
    )

    assert isinstance(broken, CheckUnavailable)
    assert decisions(well) == [Decision.ALLOW]
    assert metrics.registry.get_sample_value("darkroom_check_errors_total", {"stage": "image"}) == 1


def test_finished_images_go_before_previews(gate: Gate, checks: ImageChecks) -> None:
    terms = Terms(DEFAULT)

    preview, image = while_the_gate_is_shut(
        gate, checks, [lambda: checks.judge_preview(flat(7).pixels, terms).result(), lambda: checks.judge([flat(8)])]
    )

    assert gate.batches == [[1], [8], [7]]
    assert decisions(preview) == decisions(image) == [Decision.ALLOW]


def test_a_bug_of_ours_leaves_images_unchecked_and_the_thread_alive(
    gate: Gate, checks: ImageChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.open.set()
    with monkeypatch.context() as broken:
        broken.setattr(checks._pipeline, "judge_images", lambda *_: int("seven"))
        with pytest.raises(CheckUnavailable, match="ValueError"):
            checks.judge([flat(0)])

    assert decisions(checks.judge([flat(0)])) == [Decision.ALLOW]


def test_what_waits_at_the_end_counts_as_unchecked(gate: Gate, checks: ImageChecks) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(checks.judge, [flat(1)])
        eventually(lambda: gate.batches == [[1]])
        waiting = pool.submit(checks.judge, [flat(0)])
        eventually(lambda: len(checks._finished) == 1)

        checks.close()
        gate.open.set()

        assert isinstance(waiting.exception(SECONDS), CheckUnavailable)
        assert decisions(first.result(SECONDS)) == [Decision.ALLOW]
    with pytest.raises(CheckUnavailable, match="have ended"):
        checks.judge([flat(0)])


def _job(policy: str | None) -> Job:
    return make_job(policy=policy)


def test_a_job_is_judged_under_the_policy_of_its_record(metrics: Metrics) -> None:
    checks = ImageChecks(SafetyPipeline(policy=DEFAULT), metrics=metrics, policies=Policies())

    assert checks.terms(_job(STRICT.label)).policy == STRICT
    assert checks.terms(_job(None)).policy == DEFAULT


def test_a_job_whose_policy_is_not_here_can_not_be_checked(metrics: Metrics, tmp_path: Path) -> None:
    checks = ImageChecks(SafetyPipeline(policy=DEFAULT), metrics=metrics, policies=Policies(tmp_path))

    with pytest.raises(CheckUnavailable, match="there is no policy named 'elsewhere'"):
        checks.terms(_job("elsewhere@3"))
