"""The manifests and the compose file say the same of every program that both run."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.deploy.kustomize import KUBERNETES, ROOT, render
from tests.deploy.pods import OURS, pods

#: What differs between one machine and a cluster: addresses, the S3 service, and how a device is chosen.
BY_PLACE = {
    "DARKROOM_DEVICE",
    "DARKROOM_PUBLIC_URL",
    "DARKROOM_REDIS_URL",
    "DARKROOM_S3_ENDPOINT_URL",
    "DARKROOM_S3_LINK_ENDPOINT_URL",
    "DARKROOM_S3_REGION",
    "DARKROOM_TORCH_THREADS",
    "DARKROOM_TRUSTED_PROXIES",
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_OFFLINE",
    "HOME",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def told(value: str) -> str:
    """A value of the compose file where the caller's environment says nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.mark.parametrize("name", OURS)
def test_compose_says_the_same(compose: dict[str, Any], name: str) -> None:
    base = render(KUBERNETES / "base")
    pod, service = pods(base)[name], compose[name.removeprefix("darkroom-")]
    here, there = pod.environment(base), {key: told(value) for key, value in service["environment"].items()}

    assert pod.container["command"] == service["command"]
    assert {key: value for key, value in there.items() if key not in BY_PLACE}.items() <= here.items()
    assert set(here) - set(there) <= {"DARKROOM_WORKER_CONCURRENCY"}
    ports = {told(str(port)).rpartition(":")[2] for port in (*service.get("ports", []), *service["expose"])}
    assert {str(port["containerPort"]) for port in pod.container["ports"]} == ports
    assert pod.container["image"].rpartition("/")[2].partition(":")[0] == service["image"].partition(":")[0]
    assert f"{pod.spec['securityContext']['runAsUser']}:{pod.spec['securityContext']['runAsGroup']}" == service["user"]
    probe = pod.container["readinessProbe"]["httpGet"]
    numbers = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
    assert f":{numbers[probe['port']]}{probe['path']}'" in service["healthcheck"]["test"][-1]
    assert pod.spec["terminationGracePeriodSeconds"] >= int(service["stop_grace_period"].removesuffix("s"))


def test_secrets_lie_where_compose_puts_them(compose: dict[str, Any]) -> None:
    for name in OURS:
        (mount,) = [
            m for m in pods(render(KUBERNETES / "base"))[name].container["volumeMounts"] if m["name"] == "secrets"
        ]
        targets = {volume["target"] for volume in compose[name.removeprefix("darkroom-")]["volumes"]}
        assert mount["mountPath"] in targets


def test_both_start_the_same_valkey(compose: dict[str, Any]) -> None:
    valkey = pods(render(KUBERNETES / "stores"))["darkroom-valkey"]

    assert valkey.container["image"] == compose["valkey"]["image"]
