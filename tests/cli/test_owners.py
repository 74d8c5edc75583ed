"""`darkroom owners` and `darkroom queue`, straight on the store."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from cli.main import app
from darkroom.jobs import Tier
from darkroom.queue_control import QueueControl
from darkroom.settings import RedisSettings


def run(*words: str, data: Path) -> str:
    result = CliRunner().invoke(app, [*words, "--data", str(data)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def control(redis_settings: RedisSettings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> QueueControl:
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_settings.redis_url)
    return QueueControl(redis_client)


def test_an_owner_is_suspended_shown_and_resumed(control: QueueControl, tmp_path: Path) -> None:
    run("owners", "suspend", "ada", data=tmp_path)

    assert control.suspended() == {"ada"}
    assert "state: suspended" in run("owners", "show", "ada", data=tmp_path)
    assert "ada" in run("owners", "list", data=tmp_path)
    run("owners", "resume", "ada", data=tmp_path)
    assert control.suspended() == frozenset()


def test_a_tier_and_a_model_are_paused_and_resumed(control: QueueControl, tmp_path: Path) -> None:
    run("queue", "pause", "--tier", "preview", "--model", "tiny", data=tmp_path)

    assert (control.paused_tiers(), control.paused_models()) == ({Tier.PREVIEW}, {"tiny"})
    assert "tiers: preview" in run("queue", "show", data=tmp_path)
    run("queue", "resume", "--tier", "preview", "--model", "tiny", data=tmp_path)
    assert control.paused_tiers() | control.paused_models() == frozenset()


def test_a_pause_of_nothing_is_refused(control: QueueControl, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["queue", "pause", "--data", str(tmp_path)]).exit_code == 2
    assert control.paused_tiers() == frozenset()
