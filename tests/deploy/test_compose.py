"""The compose files by their schema and by our own rules: pinned, hardened, checked, wired to what the code reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from darkroom.settings import ApiSettings, settings_table
from scripts.compose_file import Container, in_order, read_compose

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.s3.yml")
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
CONTAINERS = read_compose(ROOT / "docker-compose.yml", {})
LASTING = [name for name, container in CONTAINERS.items() if not container.ends]
OURS = [name for name, container in CONTAINERS.items() if container.dockerfile]
EXTRA_SECONDS = 10  # what a worker may take beyond its grace time: docs/operations.md


def test_the_files_fit_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *FILES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_refuses_a_misspelt_key(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text((ROOT / "docker-compose.yml").read_text().replace("healthcheck:", "healthchek:"))

    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)],
        capture_output=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 1


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    limits = service["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= set(limits)


def test_only_what_gives_volumes_away_runs_as_root_and_it_has_no_network() -> None:
    roots = [name for name, service in SERVICES.items() if service["user"] != "10001:10001"]

    assert roots == ["prepare"]
    assert SERVICES["prepare"]["network_mode"] == "none"
    assert [name for name, service in SERVICES.items() if service.get("cap_add")] == ["prepare"]


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_has_a_health_check_and_starts_again(name: str) -> None:
    assert CONTAINERS[name].health is not None
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_images_of_others_are_pinned_to_a_version() -> None:
    images = {container.image for container in CONTAINERS.values() if not container.dockerfile}

    assert images
    assert all(re.search(r":v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$", image) for image in images)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_one_that_a_process_reads(name: str) -> None:
    known = set(re.findall(r"`(DARKROOM_\w+)`", settings_table()))
    given = {key for key in CONTAINERS[name].environment if key.startswith("DARKROOM_")} - {"DARKROOM_SECRETS"}

    assert given <= known


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_a_variable(name: str) -> None:
    """They are files, whose paths the variables name."""
    values = CONTAINERS[name].environment
    telling = {key for key in values if re.search(r"SECRET|PASSWORD|TOKEN|(?<!VAL)KEY|CREDENTIALS", key)}

    assert [key for key in telling if not values[key].startswith(("/run/secrets/", "/prepare/"))] == []


def test_a_worker_has_longer_to_end_than_its_grace_time() -> None:
    worker = CONTAINERS["worker"]

    assert worker.stop_seconds >= float(worker.environment["DARKROOM_GRACE_SECONDS"]) + EXTRA_SECONDS


def test_metrics_and_stores_are_not_published() -> None:
    published = {(name, port) for name, container in CONTAINERS.items() for port in container.published.values()}

    assert published == {("api", 8000), ("garage", 3900), ("prometheus", 9090), ("grafana", 3000)}
    assert all(entry.startswith(("127.0.0.1:", "${DARKROOM_BIND:-127.0.0.1}:")) for entry in _port_entries())


def test_only_webhooks_leave_the_machine() -> None:
    networks = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["networks"]
    inside = {name for name, how in networks.items() if how.get("internal")}

    assert inside == {"jobs", "objects", "metrics"}
    assert [name for name, service in SERVICES.items() if "outside" in service.get("networks", [])] == ["delivery"]
    assert set(SERVICES["worker"]["networks"]) <= inside
    assert set(SERVICES["valkey"]["networks"]) == {"jobs"}


def test_each_mounted_file_and_volume_exists() -> None:
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    mounts = [mount for container in CONTAINERS.values() for mount in container.mounts]

    assert {mount.source for mount in mounts if mount.is_volume} == set(volumes)
    assert [mount.source for mount in mounts if not mount.is_volume and not (ROOT / mount.source).exists()] == []


def test_prometheus_is_told_of_every_port_that_has_metrics() -> None:
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    asked = {(name, how["port"]) for job in jobs for how in job["dns_sd_configs"] for name in how["names"]}

    assert asked == {("api", 9100), ("worker", 9101), ("delivery", 9102)}


def test_prometheus_beside_darkroom_up_asks_where_the_page_has_it_listen() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "local.yml").read_text())
    page = (ROOT / "docs" / "dashboards.md").read_text()
    asked = {job["job_name"]: job["static_configs"][0]["targets"][0].split(":")[1] for job in config["scrape_configs"]}

    assert asked["api"] == str(ApiSettings().port)
    assert f"DARKROOM_METRICS_PORT={asked['worker']} DARKROOM_DELIVERY_METRICS_PORT={asked['delivery']} make up" in page


def test_services_start_after_what_they_need() -> None:
    order = [container.name for container in in_order(CONTAINERS)]

    assert order[0] == "prepare"
    assert order.index("garage-bucket") < order.index("api")
    assert order.index("valkey") < order.index("worker")


def test_the_gpu_file_changes_the_build_of_torch_and_reserves_a_device() -> None:
    worker = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())["services"]["worker"]

    assert worker["build"]["args"] == {"TORCH": "gpu"}
    assert worker["environment"]["DARKROOM_DEVICE"] == "cuda"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_a_variable_that_must_be_given_is_asked_for() -> None:
    with pytest.raises(ValueError, match="DARKROOM_S3_CREDENTIALS_FILE names a file"):
        read_compose(ROOT / "docker-compose.s3.yml", {})


def _port_entries() -> list[str]:
    return [entry for service in SERVICES.values() for entry in service.get("ports", [])]


def test_containers_are_read_as_written() -> None:
    api: Container = CONTAINERS["api"]

    assert api.command == ("python", "-m", "api")
    assert api.environment["DARKROOM_S3_ENDPOINT_URL"] == "http://garage:3900"
    assert api.depends_on["garage-bucket"] == "service_completed_successfully"
    assert set(api.ports) == {8000, 9100}
