"""`darkroom audit`, straight on the stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from cli.main import app
from darkroom.audit import AUDIT, AuditLog
from darkroom.settings import RedisSettings
from tests.fixtures.secret_file import write_secret_file


@pytest.fixture
def log(
    redis_settings: RedisSettings, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AuditLog:
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_settings.redis_url)
    monkeypatch.setenv("DARKROOM_OBJECT_STORE_FOLDER", str(tmp_path / "objects"))
    monkeypatch.setenv("DARKROOM_LINK_SECRET", "a secret of tests")
    monkeypatch.setenv("DARKROOM_SECRET_FILE", str(write_secret_file(tmp_path)))
    return AuditLog(redis_client)


def test_the_log_is_exported_line_by_line_and_verified(log: AuditLog, tmp_path: Path) -> None:
    for subject in ("job_1", "job_2"):
        log.append("ann", "review.read", subject)

    exported = CliRunner().invoke(app, ["audit", "export", "--data", str(tmp_path)])
    verified = CliRunner().invoke(app, ["audit", "verify", "--data", str(tmp_path)])

    assert [json.loads(line)["subject"] for line in exported.stdout.splitlines()] == ["job_1", "job_2"]
    assert verified.exit_code == 0
    assert verified.stdout.startswith("2 entries, the chain holds")


def test_a_broken_chain_is_an_exit_code_and_a_sentence(
    log: AuditLog, redis_client: redis.Redis, tmp_path: Path
) -> None:
    for subject in ("job_1", "job_2"):
        log.append("ann", "review.read", subject)
    redis_client.xdel(AUDIT, "1-0")

    verified = CliRunner().invoke(app, ["audit", "verify", "--data", str(tmp_path)])

    assert verified.exit_code == 1
    assert "from entry 0 to entry 2" in verified.stderr
