"""Prompts are judged once more in the worker, before anything is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from darkroom.catalogue import AdapterSpec
from darkroom.jobs import JobStatus, Texts
from darkroom.judgements import Score, Waived
from darkroom.near_misses import NearMisses
from darkroom.settings import JobSettings, SafetySettings
from safety.pipeline import SafetyPipeline
from safety.policy import load_policy
from safety.policy_set import Policies
from safety.subjects import PromptSubject
from safety.verdict import Category, Finding, Stage
from tests.darkroom.factories import make_job, make_params
from tests.worker.workshop import Workshop
from worker.prompt_checks import PromptChecks
from worker.runner import Outcome

POLICY = """
schema = 1
name = "house"
version = 1
[prompt]
required_slow_checks = ["slow"]
[prompt.actions]
violence = "rewrite"
"""
KEY = "0123456789ab"
WORDS = {"zarn": Category.violence, "murk": Category.hate, "qilt": Category.minors}


@dataclass
class SlowCheck:
    """Scores words, or does what a test says."""

    answer: Callable[[PromptSubject], Any] | None = None
    score: float = 1.0
    name: str = "slow"
    stage: Stage = Stage.PROMPT

    def run(self, subject: PromptSubject) -> Any:
        if self.answer:
            return self.answer(subject)
        return [Finding(WORDS[word], self.score, self.name) for word in subject.text.split() if word in WORDS]


class Planting:
    """Writes a tree wherever `zarn` stood."""

    name = "planting"

    def rewrite(self, subject: PromptSubject, findings: Sequence[Finding]) -> PromptSubject:
        assert findings
        return replace(subject, prompt=subject.prompt.replace("zarn", "tree"))


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    (tmp_path / "house.toml").write_text(POLICY, encoding="utf-8")
    return Policies(tmp_path)


Build = Callable[..., PromptChecks]


@pytest.fixture
def build(shop: Workshop, policies: Policies, redis_client: redis.Redis) -> Build:
    """Makes the stage of a worker that has these slow checks."""

    def make(*checks: SlowCheck, adapters: Mapping[str, AdapterSpec] | None = None) -> PromptChecks:
        return PromptChecks(
            SafetyPipeline(policy=load_policy(), prompt_checks=checks, rewriters=[Planting()], slow=True),
            policies=policies,
            adapters=adapters or {},
            metrics=shop.metrics,
            near_misses=NearMisses(redis_client, SafetySettings(near_miss_hold=1)),
            idle=not checks,
        )

    return make


HeldKeys = Callable[[], set[str]]


@pytest.fixture
def held_keys(redis_client: redis.Redis) -> HeldKeys:
    return lambda: set(NearMisses(redis_client, SafetySettings()).held())


def submit(shop: Workshop, prompt: str, *, policy: str = "house@1", **changes: Any) -> Any:
    params = make_params(prompt=prompt, width=64, height=64, num_inference_steps=2)
    return shop.jobs.submit(make_job(params=params, policy=policy, key=KEY, **changes)).job


def test_refused_prompt_ends_the_job_before_anything_is_made(shop: Workshop, build: Build, held_keys: HeldKeys) -> None:
    shop.prompts = build(SlowCheck())
    job = submit(shop, "a murk")

    assert shop.run() is Outcome.ENDED

    ended = shop.get(job)
    assert (ended.status, ended.images, ended.error and ended.error.code) == (JobStatus.BLOCKED, (), "prompt_hate")
    assert ended.findings[0].scores == (Score("hate", "slow", 1.0),)
    assert shop.count("darkroom_verdicts_total", stage="prompt", decision="block") == 1
    assert held_keys() == {KEY}


def test_rewritten_prompt_is_written_down_and_used(shop: Workshop, build: Build) -> None:
    shop.prompts = build(SlowCheck())
    job = submit(shop, "a zarn")

    shop.run()

    ended = shop.get(job)
    assert (ended.status, ended.params.prompt, ended.original) == (JobStatus.SUCCEEDED, "a tree", Texts("a zarn"))
    file = shop.objects.get(ended.images[0].key)
    assert b"a tree" in file
    assert b"zarn" not in file


def test_doubt_holds_every_image(shop: Workshop, build: Build) -> None:
    shop.prompts = build(SlowCheck(score=0.6))
    job = submit(shop, "a murk")

    shop.run()

    ended = shop.get(job)
    assert (ended.status, ended.held) == (JobStatus.IN_REVIEW, "prompt_hate")
    assert ended.images[0].decision == "review"


def fail(_subject: PromptSubject) -> Any:
    raise ValueError("out of order")


FAULTS: dict[str, Callable[[PromptSubject], Any]] = {
    "raises": fail,
    "not a number": lambda _: [Finding(Category.hate, float("nan"), "slow")],
    "no list": lambda _: None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_without_an_answer_is_a_passing_fault_and_in_the_end_a_failure(
    shop: Workshop, build: Build, held_keys: HeldKeys, fault: str
) -> None:
    shop.prompts = build(SlowCheck(FAULTS[fault]))
    job = submit(shop, "a tree")

    outcomes = [shop.run() for _ in range(JobSettings().max_transient + 1)]

    ended = shop.get(job)
    assert set(outcomes) == {Outcome.RELEASED}
    assert (ended.status, ended.error and ended.error.code) == (JobStatus.FAILED, "check_unavailable")
    assert shop.count("darkroom_check_errors_total", stage="prompt") == len(outcomes)
    assert held_keys() == set()  # nobody is blamed


def test_slow_check_that_is_missing_lets_nothing_through(shop: Workshop, build: Build) -> None:
    shop.prompts = build()
    job = submit(shop, "a tree")

    assert shop.run() is Outcome.RELEASED

    assert shop.get(job).images == ()


def test_policy_that_nobody_has_lets_nothing_through(shop: Workshop, build: Build) -> None:
    shop.prompts = build()
    submit(shop, "a tree", policy="gone@1")

    assert shop.run() is Outcome.RELEASED


def test_worker_without_slow_checks_asks_none_unless_the_policy_does(shop: Workshop, build: Build) -> None:
    shop.prompts = build()
    job = submit(shop, "a murk", policy="default@1")

    shop.run()

    assert shop.get(job).status is JobStatus.SUCCEEDED


def test_what_an_appeal_waived_decides_nothing_here_either(shop: Workshop, build: Build) -> None:
    shop.prompts = build(SlowCheck())
    waived = (Waived("hate", "slow"), Waived("minors", "slow"))

    job = submit(shop, "a murk", waived=waived)
    shop.run()
    assert shop.get(job).status is JobStatus.SUCCEEDED

    job = submit(shop, "a murk qilt", waived=waived)
    shop.run()
    error = shop.get(job).error
    assert error is not None
    assert error.code == "prompt_minors"


def test_words_that_an_adapter_brings_are_judged(build: Build) -> None:
    spec = AdapterSpec.model_construct(name="ink", trigger="murk")
    checks = build(SlowCheck(), adapters={"ink": spec})
    params = make_params(prompt="a tree", adapters=({"name": "ink", "scale": 1.0},))

    checked = checks.judge(make_job(params=params, policy="house@1"))

    assert checked is not None
    assert checked.verdict.reason == "prompt_hate"
