"""The pipeline: a faulty check lets nothing through, and the policy judges what the others found."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from darkroom.errors import CheckUnavailable, Transient
from safety.image.blank import BlankCheck
from safety.pipeline import MAX_RUNNING, ImageSubject, PromptSubject, SafetyPipeline, Terms
from safety.policy import POLICIES, Policy, load_policy
from safety.verdict import Category, Decision, Finding, Stage, Verdict, Waiver
from tests.safety.probes import HARMLESS, SECRET, ProbeCheck, fail, found, make_pipeline


def leave(_subject: PromptSubject) -> list[Finding]:
    raise SystemExit(1)


@pytest.fixture
def hang() -> Iterator[Callable[[Any], list[Finding]]]:
    """A check that answers only when the test has ended."""
    released = threading.Event()

    def wait(_subject: Any) -> list[Finding]:
        released.wait()
        return []

    yield wait
    released.set()


def flat(value: int, size: int = 32) -> ImageSubject:
    return ImageSubject(np.full((size, size, 3), value, dtype=np.uint8))


def half_flat(share: float, size: int = 40) -> ImageSubject:
    """An image whose first rows are one colour and whose others are a ramp far from it."""
    pixels = np.zeros((size, size, 3), dtype=np.uint8)
    rows = round(size * share)
    pixels[rows:] = np.linspace(60, 250, (size - rows) * size).reshape(-1, size, 1).astype(np.uint8)
    return ImageSubject(pixels)


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "raises": (fail, "ValueError at probes.py:"),
    "leaves": (leave, "SystemExit"),
    "not a number": (lambda _: found(float("nan")), "a score that is not a number from 0 to 1"),
    "infinite": (lambda _: found(float("inf")), "a score that is not a number"),
    "above one": (lambda _: found(1.0001), "a score that is not a number"),
    "below zero": (lambda _: found(-0.1), "a score that is not a number"),
    "text for a score": (lambda _: found("0.5"), "a score that is not a number"),
    "complex score": (lambda _: found(1j), "a score that is not a number"),
    "unknown category": (lambda _: found(0.5, "weather"), "an unknown category"),
    "no list": (lambda _: None, "other than a list"),
    "no findings": (lambda _: [0.5], "other than a finding"),
    "generator": (lambda _: iter(found(0.5)), "other than a list"),
    "one bad among good": (lambda _: [*found(0.1), *found(float("nan"))], "a score that is not a number"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_check_lets_nothing_through(fault: str) -> None:
    answer, sentence = FAULTS[fault]

    with pytest.raises(CheckUnavailable, match=sentence) as caught:
        make_pipeline(ProbeCheck(answer)).check_prompt(PromptSubject(SECRET))

    assert isinstance(caught.value, Transient)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_hung_check_lets_nothing_through(hang: Callable[[Any], list[Finding]]) -> None:
    pipeline = make_pipeline(ProbeCheck(hang), timeout_seconds=0.05)

    with pytest.raises(CheckUnavailable, match=r"probe gave no answer within 0\.05 s"):
        pipeline.check_prompt(PromptSubject("a"))


def test_hung_checks_never_use_up_the_process(hang: Callable[[Any], list[Finding]]) -> None:
    pipeline = make_pipeline(ProbeCheck(hang), timeout_seconds=0.01)
    for _ in range(MAX_RUNNING):
        with pytest.raises(CheckUnavailable, match="gave no answer"):
            pipeline.check_prompt(PromptSubject("a"))
    before = threading.active_count()

    with pytest.raises(CheckUnavailable, match="too many are under way"):
        pipeline.check_prompt(PromptSubject("a"))

    assert threading.active_count() <= before


def test_places_are_given_back_after_failures() -> None:
    check = ProbeCheck(fail)
    pipeline = make_pipeline(check, timeout_seconds=5)
    for _ in range(MAX_RUNNING + 1):
        with pytest.raises(CheckUnavailable, match="ValueError"):
            pipeline.check_prompt(PromptSubject("a"))

    check.answer = lambda _: []

    assert pipeline.check_prompt(PromptSubject("a")).decision is Decision.ALLOW


def test_missing_required_check_lets_nothing_through() -> None:
    with pytest.raises(CheckUnavailable, match="default@1 requires the check prompt_wordlist"):
        make_pipeline(policy=load_policy()).check_prompt(PromptSubject("a"))


def test_prompt_process_needs_no_image_checks() -> None:
    policy = Policy.model_validate(
        {"schema": 1, "name": "p", "version": 1, "image": {"required_checks": ["image_blank"]}}
    )
    pipeline = make_pipeline(policy=policy)

    assert pipeline.check_prompt(PromptSubject("a")).decision is Decision.ALLOW
    with pytest.raises(CheckUnavailable, match="requires the check image_blank"):
        pipeline.check_images([flat(0)])


def test_checks_run_in_order_and_a_block_spares_the_rest() -> None:
    cheap = ProbeCheck(lambda _: found(1.0), name="cheap")
    dear = ProbeCheck(lambda _: found(0.0), name="dear")

    verdict = make_pipeline(cheap, dear).check_prompt(PromptSubject("a"))

    assert (verdict.decision, verdict.checks, len(dear.asked)) == (Decision.BLOCK, ("cheap",), 0)


def test_held_prompt_still_meets_every_check() -> None:
    doubt = ProbeCheck(lambda _: found(0.6), name="doubt")
    sure = ProbeCheck(lambda _: found(1.0, Category.hate), name="sure")

    verdict = make_pipeline(doubt, sure).check_prompt(PromptSubject("a"))

    assert (verdict.decision, verdict.reason, verdict.checks) == (Decision.BLOCK, "prompt_hate", ("doubt", "sure"))
    assert verdict.policy == "harmless@3"


def test_broken_check_after_a_doubt_gives_no_verdict() -> None:
    with pytest.raises(CheckUnavailable):
        make_pipeline(ProbeCheck(lambda _: found(0.6), name="doubt"), ProbeCheck(fail)).check_prompt(PromptSubject("a"))


def test_scores_of_numpy_count() -> None:
    verdict = make_pipeline(ProbeCheck(lambda _: found(np.float32(0.95)))).check_prompt(PromptSubject("a"))

    assert verdict.decision is Decision.BLOCK


def test_two_checks_of_one_name_are_refused() -> None:
    with pytest.raises(AssertionError, match="one name"):
        make_pipeline(ProbeCheck(fail), ProbeCheck(fail))


def test_check_of_the_other_stage_is_refused() -> None:
    with pytest.raises(AssertionError, match="prompt stage"):
        make_pipeline(ProbeCheck(fail, stage=Stage.IMAGE))


def test_prompt_is_no_part_of_a_subjects_repr() -> None:
    assert SECRET not in repr(PromptSubject(SECRET, SECRET))


def make_image_pipeline(tmp_path: Path, *, review: float, block: float) -> SafetyPipeline:
    path = tmp_path / "blank.toml"
    text = (POLICIES / "default.toml").read_text(encoding="utf-8")
    text = text.replace("[image]\nrequired_checks = []", '[image]\nrequired_checks = ["image_blank"]')
    path.write_text(f"{text}\n[image.thresholds.custom]\nreview = {review}\nblock = {block}\n", encoding="utf-8")
    return SafetyPipeline(policy=load_policy(path), image_checks=[BlankCheck()])


def test_each_image_gets_its_own_verdict(tmp_path: Path) -> None:
    pipeline = make_image_pipeline(tmp_path, review=0.7, block=0.95)

    verdicts = pipeline.check_images([half_flat(0.55), half_flat(0.8), flat(0)])

    assert [verdict.decision for verdict in verdicts] == [Decision.ALLOW, Decision.REVIEW, Decision.BLOCK]
    assert [verdict.reason for verdict in verdicts] == [None, "image_custom", "image_custom"]
    assert {verdict.checks for verdict in verdicts} == {("image_blank",)}


def test_one_unchecked_image_holds_back_all() -> None:
    check = ProbeCheck(lambda image: found(0.0 if image.pixels.any() else float("nan")), stage=Stage.IMAGE)
    pipeline = SafetyPipeline(policy=HARMLESS, image_checks=[check])

    assert pipeline.check_images([flat(9)])[0].decision is Decision.ALLOW
    with pytest.raises(CheckUnavailable):
        pipeline.check_images([flat(9), flat(0), flat(9)])


def test_no_image_check_and_none_required_allows() -> None:
    verdicts = SafetyPipeline(policy=load_policy()).check_images([flat(0), flat(9)])

    assert [(verdict.decision, verdict.checks) for verdict in verdicts] == [(Decision.ALLOW, ())] * 2


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), dtype=np.uint8),
        np.zeros((8, 8, 4), dtype=np.uint8),
        np.zeros((8, 8, 3), dtype=np.float32),
    ],
)
def test_pixels_of_another_kind_are_refused(pixels: Any) -> None:
    with pytest.raises(ValueError, match="8-bit RGB"):
        ImageSubject(pixels)


def test_checks_of_one_pipeline_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(_subject: PromptSubject) -> list[Finding]:
        both.wait()
        return []

    pipeline = make_pipeline(ProbeCheck(meet))
    verdicts: list[Decision] = []
    callers = [
        threading.Thread(target=lambda: verdicts.append(pipeline.check_prompt(PromptSubject("a")).decision))
        for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert verdicts == [Decision.ALLOW, Decision.ALLOW]


def watching(*names: str) -> Policy:
    return Policy.model_validate({"schema": 1, "name": "watching", "version": 1, "shadow": names})


def test_watched_check_is_recorded_and_decides_nothing() -> None:
    watched = ProbeCheck(lambda _: found(1.0), name="watched")
    verdict = make_pipeline(watched, policy=watching("watched")).check_prompt(PromptSubject("a"))

    assert (verdict.decision, verdict.findings, verdict.shadow) == (Decision.ALLOW, (), tuple(found(1.0)))
    assert verdict.checks == ("watched",)


def test_watched_check_that_fails_stops_nothing() -> None:
    verdict = make_pipeline(ProbeCheck(fail, name="watched"), policy=watching("watched")).check_prompt(
        PromptSubject("a")
    )

    assert (verdict.decision, verdict.checks) == (Decision.ALLOW, ())


def test_minors_finding_of_a_watched_check_decides() -> None:
    watched = ProbeCheck(lambda _: found(0.5, Category.minors), name="watched")

    verdict = make_pipeline(watched, policy=watching("watched")).check_prompt(PromptSubject("a"))

    assert (verdict.decision, verdict.reason) == (Decision.BLOCK, "prompt_minors")


def test_policy_of_the_call_counts() -> None:
    pipeline = make_pipeline(ProbeCheck(lambda _: found(0.6)))
    strict = Policy.model_validate(
        {"schema": 1, "name": "hard", "version": 1, "prompt": {"default": {"review": 0.1, "block": 0.2}}}
    )

    assert pipeline.check_prompt(PromptSubject("a")).decision is Decision.REVIEW
    verdict = pipeline.check_prompt(PromptSubject("a"), strict)
    assert (verdict.decision, verdict.policy) == (Decision.BLOCK, "hard@1")


def test_waived_finding_decides_nothing_and_others_do() -> None:
    pipeline = make_pipeline(ProbeCheck(lambda _: [*found(1.0), *found(0.5, Category.minors)]))
    custom, minors = Waiver(Category.custom, "probe"), Waiver(Category.minors, "probe")

    assert pipeline.check_prompt(PromptSubject("a"), waived=[custom, minors]).reason == "prompt_minors"
    calm = make_pipeline(ProbeCheck(lambda _: found(1.0)))
    assert calm.check_prompt(PromptSubject("a"), waived=[custom]).decision is Decision.ALLOW
    other = Waiver(Category.custom, "other")
    assert calm.check_prompt(PromptSubject("a"), waived=[other]).decision is Decision.BLOCK


def test_slow_checks_are_required_of_workers_alone() -> None:
    policy = Policy.model_validate(
        {"schema": 1, "name": "slow", "version": 1, "prompt": {"required_slow_checks": ["guard"]}}
    )

    assert make_pipeline(policy=policy).check_prompt(PromptSubject("a")).decision is Decision.ALLOW
    with pytest.raises(CheckUnavailable, match="requires the check guard"):
        SafetyPipeline(policy=policy, slow=True).check_prompt(PromptSubject("a"))


class BatchProbe(ProbeCheck):
    """A check that takes several images at once."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__(answer, stage=Stage.IMAGE)
        self.batches: list[int] = []

    def run_batch(self, subjects: Sequence[Any]) -> Any:
        self.batches.append(len(subjects))
        return [self.answer(subject) for subject in subjects]


def by_brightness(image: ImageSubject) -> list[Finding]:
    return found(float(image.pixels.max()) / 255)


def test_images_of_several_jobs_go_through_a_check_together_under_their_own_terms() -> None:
    check = BatchProbe(by_brightness)
    lax = Policy.model_validate(
        {"schema": 1, "name": "lax", "version": 1, "image": {"default": {"review": 0.9, "block": 1.0}}}
    )
    pipeline = SafetyPipeline(policy=HARMLESS, image_checks=[check])

    outcomes = pipeline.judge_images([flat(100), flat(100)], [Terms(HARMLESS), Terms(lax)])

    assert [cast("Verdict", outcome).decision for outcome in outcomes] == [Decision.BLOCK, Decision.ALLOW]
    assert check.batches == [2]


def test_fault_stays_with_the_image_that_met_it() -> None:
    check = BatchProbe(lambda image: fail(image) if image.pixels.max() == 9 else by_brightness(image))
    pipeline = SafetyPipeline(policy=HARMLESS, image_checks=[check])

    outcomes = pipeline.judge_images([flat(0), flat(9), flat(200)], [Terms(HARMLESS)] * 3)

    assert isinstance(outcomes[1], CheckUnavailable)
    assert [cast("Verdict", outcomes[index]).decision for index in (0, 2)] == [Decision.ALLOW, Decision.BLOCK]


@pytest.mark.parametrize("answers", [None, [], [[]], [[], [], []]])
def test_batch_of_another_length_counts_as_no_answer(answers: Any) -> None:
    class Miscounting(BatchProbe):
        def run_batch(self, _subjects: Sequence[Any]) -> Any:
            return answers

    check = Miscounting(by_brightness)
    outcomes = SafetyPipeline(policy=HARMLESS, image_checks=[check]).check_images([flat(0), flat(255)])

    assert [outcome.decision for outcome in outcomes] == [Decision.ALLOW, Decision.BLOCK]
    assert len(check.asked) == 2


def test_blocked_image_meets_no_further_check() -> None:
    dear = ProbeCheck(lambda _: [], name="dear", stage=Stage.IMAGE)
    pipeline = SafetyPipeline(policy=HARMLESS, image_checks=[BatchProbe(by_brightness), dear])

    pipeline.check_images([flat(255), flat(0)])

    assert len(dear.asked) == 1


def test_time_of_every_run_is_observed_whatever_came_of_it() -> None:
    seen: list[tuple[str, float]] = []
    checks = [ProbeCheck(lambda _: [], name="quick"), ProbeCheck(fail, name="broken")]
    pipeline = SafetyPipeline(policy=HARMLESS, prompt_checks=checks, observe=lambda *run: seen.append(run))

    with pytest.raises(CheckUnavailable):
        pipeline.check_prompt(PromptSubject("a duck"))

    assert [name for name, _ in seen] == ["quick", "broken"]
    assert all(0 <= seconds < 5 for _, seconds in seen)
