"""The worker's own checks: those that are configured, the quick ones first, and none that can't be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError
from darkroom.settings import GuardSettings, PromptModelSettings, RewriterSettings
from tests.safety.tiny_text_models import save_classifier
from worker.slow_prompt_checks import CheckSettings, slow_prompt_checks

MODELS = Path(__file__).parents[2] / "models"


def settings(*, guard: GuardSettings | None = None, **models: object) -> CheckSettings:
    return CheckSettings(guard or GuardSettings(), PromptModelSettings(**models), RewriterSettings())


def test_nothing_configured_is_no_check() -> None:
    assert slow_prompt_checks(settings()) == ()


def test_every_model_that_is_configured_has_its_check_and_the_farthest_comes_last(tmp_path: Path) -> None:
    save_classifier(tmp_path / "model", {0: "fine", 1: "gore"})
    (tmp_path / "labels.toml").write_text(
        'schema = 1\nactivation = "softmax"\n[labels]\nfine = "benign"\ngore = "violence"\n'
    )

    checks = slow_prompt_checks(
        settings(
            guard=GuardSettings(url="https://guard.example/v1", model="guard"),
            prompt_classifier=str(tmp_path / "model"),
            prompt_labels=tmp_path / "labels.toml",
            semantic_embedder=MODELS / "darkroom-tiny-clip",
            semantic_heads=MODELS / "darkroom-tiny-semantic",
        )
    )

    assert [check.name for check in checks] == ["prompt_semantic", "prompt_classifier", "prompt_guard"]


def test_heads_that_are_not_there_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="heads"):
        slow_prompt_checks(settings(semantic_embedder=MODELS / "darkroom-tiny-clip", semantic_heads=tmp_path))


@pytest.mark.parametrize("name", ["prompt_classifier", "prompt_labels", "semantic_embedder", "semantic_heads"])
def test_half_a_model_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="belong together"):
        PromptModelSettings(**{name: "here"})
