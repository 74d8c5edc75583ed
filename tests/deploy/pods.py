"""What a rendered set of manifests says, in the words of the tests: pods, their environments, who may reach whom."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from tests.deploy.kustomize import Manifest

POD_KINDS = {"Deployment", "StatefulSet", "Job"}
OURS = {"darkroom-api": "api", "darkroom-delivery": "worker.delivery", "darkroom-worker": "worker"}  # name, module


@dataclass(frozen=True)
class Pod:
    """The pods of one workload; ours have one container each."""

    name: str
    workload: Manifest

    @property
    def template(self) -> Manifest:
        return self.workload["spec"]["template"]

    @property
    def spec(self) -> Manifest:
        return self.template["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.template["metadata"]["labels"]

    @property
    def container(self) -> Manifest:
        (container,) = self.spec["containers"]
        return container

    def environment(self, manifests: list[Manifest]) -> dict[str, str]:
        """The variables as the process sees them; those from secrets have a stand-in."""
        variables: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            variables |= one(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
        for entry in self.container.get("env", []):
            variables[entry["name"]] = entry.get("value", "stand-in of a secret")
        return variables


def pods(manifests: list[Manifest]) -> dict[str, Pod]:
    found = [manifest for manifest in manifests if manifest["kind"] in POD_KINDS]
    return {manifest["metadata"]["name"]: Pod(manifest["metadata"]["name"], manifest) for manifest in found}


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector means a pod with these labels."""
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def may_reach(manifests: list[Manifest], pod: Pod, address: str, port: int) -> bool:
    """Whether any policy lets the pod open a TCP connection to an address outside the cluster."""
    target = ip_address(address)
    for policy in of_kind(manifests, "NetworkPolicy"):
        if not selects(policy["spec"]["podSelector"], pod.labels):
            continue
        for rule in policy["spec"].get("egress", []):
            blocks = [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]
            ports = {entry["port"] for entry in rule["ports"] if entry["protocol"] == "TCP"}
            if port in ports and any(_lies_in(target, block) for block in blocks):
                return True
    return False


def _lies_in(address: Any, block: Manifest) -> bool:
    if address not in ip_network(block["cidr"]):
        return False
    return not any(address in ip_network(hole) for hole in block.get("except", []))
