"""The jobs that run before the services: secrets and folders, the bucket and its key."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3
import pytest

from safety.provenance.credentials import is_usable
from tests.fixtures.ports import free_port
from tests.fixtures.processes import ROOT, eventually

NAMES = ("DARKROOM", "DELIVERY", "VALKEY", "GARAGE", "GRAFANA")


@pytest.fixture
def prepared(tmp_path: Path) -> dict[str, str]:
    """The environment of the job, after its first run."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OWNER": f"{os.getuid()}:{os.getgid()}",
        "AUTHORITY": str(tmp_path / "authority"),
        "VALKEY_BIND": "127.0.0.1",
        "VALKEY_PORT": "6379",
        "VALKEY_DATA": str(tmp_path / "valkey-data"),
        "VALKEY_MAXMEMORY": "64mb",
        "FOLDERS": f"{tmp_path / 'valkey-data'} {tmp_path / 'models'}",
        **{f"{name}_SECRETS": str(tmp_path / name.lower()) for name in NAMES},
    }
    for name in (*(name.lower() for name in NAMES), "authority", "valkey-data", "models"):
        (tmp_path / name).mkdir()
    _prepare(environment)
    return environment


def test_secrets_are_files_for_one_user_alone(prepared: dict[str, str], tmp_path: Path) -> None:
    files = [path for name in NAMES for path in (tmp_path / name.lower()).iterdir()]

    assert {path.name for path in files} >= {
        "redis-password",
        "seal-keys",
        "s3-credentials",
        "rpc-secret",
        "valkey.conf",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o400}
    assert stat.S_IMODE((tmp_path / "models").stat().st_mode) == 0o700


def test_the_certificate_can_sign_and_its_authority_stays_apart(prepared: dict[str, str], tmp_path: Path) -> None:
    assert is_usable(tmp_path / "darkroom")
    assert not list((tmp_path / "darkroom").glob("*ca*key*"))


def test_a_second_run_changes_no_secret(prepared: dict[str, str], tmp_path: Path) -> None:
    before = _contents(tmp_path)

    _prepare(prepared)

    assert _contents(tmp_path) == before


def test_webhooks_get_no_key_to_the_object_store(prepared: dict[str, str], tmp_path: Path) -> None:
    assert {path.name for path in (tmp_path / "delivery").iterdir()} == {"redis-password", "seal-keys"}


def test_the_bucket_and_its_key_are_made_once(prepared: dict[str, str], tmp_path: Path) -> None:
    s3, admin = free_port(), free_port()
    config = tmp_path / "garage.toml"
    text = (ROOT / "deploy" / "compose" / "garage.toml").read_text()
    text = text.replace("0.0.0.0:3900", f"127.0.0.1:{s3}").replace("0.0.0.0:3903", f"127.0.0.1:{admin}")
    config.write_text(text.replace("/run/secrets/garage", str(tmp_path / "garage")))
    stand_in = [sys.executable, str(ROOT / "scripts" / "garage_stand_in.py"), "-c", str(config)]
    environment = {
        **os.environ,
        "GARAGE_ADMIN_URL": f"http://127.0.0.1:{admin}",
        "GARAGE_ADMIN_TOKEN_FILE": str(tmp_path / "garage" / "admin-token"),
        "S3_CREDENTIALS_FILE": str(tmp_path / "darkroom" / "s3-credentials"),
        "S3_BUCKET": "darkroom",
    }
    server = subprocess.Popen([*stand_in, "server", "--single-node"], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: subprocess.run([*stand_in, "status"], capture_output=True, check=False).returncode == 0)
        done = [_job("garage_bucket.py", environment) for _ in range(2)]
        wrong = tmp_path / "wrong"
        wrong.write_text("other")
        refused = _job("garage_bucket.py", {**environment, "GARAGE_ADMIN_TOKEN_FILE": str(wrong)})
        names = [bucket["Name"] for bucket in _client(s3).list_buckets()["Buckets"]]
    finally:
        server.terminate()
        server.wait(20)

    assert [job.returncode for job in done] == [0, 0], [job.stderr for job in done]
    assert names == ["darkroom"]
    assert "refused" in refused.stderr
    assert (tmp_path / "darkroom" / "s3-credentials").read_text() not in refused.stderr


def _prepare(environment: Mapping[str, str]) -> None:
    done = _job("prepare.py", environment)
    assert done.returncode == 0, done.stderr


def _job(name: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "compose" / name)],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _client(port: int) -> object:
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="garage",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
