"""Jobs under models that judge prompts: a guard behind a real HTTP server, a rewriter, the shipped semantic head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from darkroom.jobs import JobStatus, Texts
from darkroom.near_misses import NearMisses
from darkroom.settings import GuardSettings, JobSettings, PromptModelSettings, RewriterSettings, SafetySettings
from safety.defaults import all_rewriters
from safety.pipeline import SafetyPipeline
from safety.policy import load_policy
from safety.policy_set import Policies
from tests.darkroom.factories import make_job, make_params
from tests.safety.model_server import Handler, ModelServer, cuts, model_server, says, sends
from tests.worker.workshop import Workshop
from worker.prompt_checks import PromptChecks
from worker.slow_prompt_checks import CheckSettings, slow_prompt_checks

MODELS = Path(__file__).parents[2] / "models"
POLICY = """
schema = 1
name = "guarded"
version = 1
[prompt]
required_slow_checks = ["prompt_guard"]
[prompt.actions]
violence = "rewrite"
"""


def opinion(handler: Handler) -> None:
    """A guard that minds an invented word and nothing else."""
    text = handler.model.asked[-1]["messages"][-1]["content"]
    says(
        "Safety: Unsafe\nCategories: Violent" if "zarn" in text
        else "Safety: Controversial\nCategories: Unethical Acts" if "murk" in text
        else "Safety: Safe\nCategories: None"
    )(handler)  # fmt: skip


def stage(
    shop: Workshop, client: redis.Redis, folder: Path, *, guard: ModelServer, editor: ModelServer | None = None
) -> PromptChecks:
    """The prompt stage that a worker with these settings has."""
    (folder / "guarded.toml").write_text(POLICY, encoding="utf-8")
    settings = CheckSettings(
        GuardSettings(url=guard.url, model="guard"),
        PromptModelSettings(),
        RewriterSettings(url=editor.url if editor else None, model="editor"),
    )
    pipeline = SafetyPipeline(
        policy=load_policy(),
        prompt_checks=slow_prompt_checks(settings),
        rewriters=all_rewriters(settings.rewriter),
        slow=True,
        observe=shop.metrics.observe_check,
    )
    return PromptChecks(
        pipeline,
        policies=Policies(folder),
        adapters={},
        metrics=shop.metrics,
        near_misses=NearMisses(client, SafetySettings()),
        idle=False,
    )


def submit(shop: Workshop, prompt: str) -> Any:
    params = make_params(prompt=prompt, width=64, height=64, num_inference_steps=2)
    return shop.jobs.submit(make_job(params=params, policy="guarded@1")).job


@pytest.mark.parametrize(
    ("prompt", "status", "reason"),
    [
        ("a tree", JobStatus.SUCCEEDED, None),
        ("a murk", JobStatus.IN_REVIEW, "prompt_harassment"),
        ("a zarn", JobStatus.BLOCKED, "prompt_violence"),
    ],
)
def test_job_ends_as_policy_and_guard_say(
    shop: Workshop, redis_client: redis.Redis, tmp_path: Path, prompt: str, status: JobStatus, reason: str | None
) -> None:
    with model_server(opinion) as guard:
        shop.prompts = stage(shop, redis_client, tmp_path, guard=guard)
        job = submit(shop, prompt)
        shop.run()

    ended = shop.get(job)
    assert ended.status is status
    assert (ended.held or (ended.error.code if ended.error else None)) == reason
    assert shop.count("darkroom_check_seconds_count", layer="prompt_guard") == 1


def test_text_of_the_language_model_is_used_once_the_guard_agrees(
    shop: Workshop, redis_client: redis.Redis, tmp_path: Path
) -> None:
    with model_server(opinion) as guard, model_server(says('{"prompt": "a tree", "negative_prompt": ""}')) as editor:
        shop.prompts = stage(shop, redis_client, tmp_path, guard=guard, editor=editor)
        job = submit(shop, "a zarn")
        shop.run()

    ended = shop.get(job)
    assert (ended.status, ended.params.prompt, ended.original) == (JobStatus.SUCCEEDED, "a tree", Texts("a zarn"))


@pytest.mark.parametrize("behaviour", [cuts, says("No comment."), sends(b"", status=503)])
def test_guard_without_an_answer_fails_the_job_and_blames_nobody(
    shop: Workshop, redis_client: redis.Redis, tmp_path: Path, behaviour: Any
) -> None:
    with model_server(behaviour) as guard:
        shop.prompts = stage(shop, redis_client, tmp_path, guard=guard)
        job = submit(shop, "a tree")
        for _ in range(JobSettings().max_transient + 1):
            shop.run()

    ended = shop.get(job)
    assert (ended.status, ended.images, ended.error and ended.error.code) == (JobStatus.FAILED, (), "check_unavailable")


def test_shipped_head_refuses_landscapes_and_lets_shapes_be_made(
    shop: Workshop, redis_client: redis.Redis, tmp_path: Path
) -> None:
    models = PromptModelSettings(
        semantic_embedder=MODELS / "darkroom-tiny-clip", semantic_heads=MODELS / "darkroom-tiny-semantic"
    )
    checks = slow_prompt_checks(CheckSettings(GuardSettings(), models, RewriterSettings()))
    (tmp_path / "guarded.toml").write_text(POLICY.replace("prompt_guard", "prompt_semantic"), encoding="utf-8")
    shop.prompts = PromptChecks(
        SafetyPipeline(policy=load_policy(), prompt_checks=checks, slow=True),
        policies=Policies(tmp_path),
        adapters={},
        metrics=shop.metrics,
        near_misses=NearMisses(redis_client, SafetySettings()),
        idle=False,
    )

    jobs = [submit(shop, prompt) for prompt in ("mountains and the sea at sunset", "a red circle on a blue background")]
    for _ in jobs:
        shop.run()

    ended = [shop.get(job) for job in jobs]
    assert [job.status for job in ended] == [JobStatus.BLOCKED, JobStatus.SUCCEEDED]
    assert ended[0].error is not None
    assert ended[0].error.code == "prompt_custom"
