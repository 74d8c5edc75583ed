"""Renders a kustomization as `kubectl kustomize` does, for what ours use: resources, namespace, patches, images.

So the tests of the manifests need no program that a machine may lack; where `kubectl` is there, a test compares
the two.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KNOWN = {"apiVersion", "kind", "namespace", "resources", "patches", "images"}
CLUSTER_WIDE = {"Namespace", "PriorityClass"}
MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}


def render(folder: Path) -> list[Manifest]:
    """Every object of the kustomization in the folder."""
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(told) - KNOWN
    assert not unknown, f"{folder.name} uses {unknown}, which this renderer does not know"
    found: list[Manifest] = []
    for name in told["resources"]:
        place = folder / name
        found += render(place) if place.is_dir() else read_all(place)
    for patch in told.get("patches", []):
        for change in read_all(folder / patch["path"]):
            _patch(found, change)
    for manifest in found:
        if "namespace" in told and manifest["kind"] not in CLUSTER_WIDE:
            manifest["metadata"]["namespace"] = told["namespace"]
        for image in told.get("images", []):
            _set_image(manifest, image)
    return found


def read_all(path: Path) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest]


def has_kubectl() -> bool:
    return shutil.which("kubectl") is not None


def render_by_kubectl(folder: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=True)
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _patch(found: list[Manifest], change: Manifest) -> None:
    name = (change["kind"], change["metadata"]["name"])
    targets = [manifest for manifest in found if (manifest["kind"], manifest["metadata"]["name"]) == name]
    assert len(targets) == 1, f"the patch of {name} fits {len(targets)} objects"
    _merge(targets[0], change)


def _merge(old: Manifest, new: Manifest) -> None:
    for key, value in new.items():
        if value is None:
            old.pop(key, None)
        elif isinstance(value, dict) and isinstance(old.get(key), dict):
            _merge(old[key], value)
        elif isinstance(value, list) and key in MERGE_KEYS and key in old:
            _merge_list(old[key], value, by=MERGE_KEYS[key])
        else:
            old[key] = value


def _merge_list(old: list[Manifest], new: list[Manifest], *, by: str) -> None:
    """What the patch names comes first, in its order; the rest follows."""
    front = []
    for item in new:
        same = [other for other in old if other[by] == item[by]]
        for other in same:
            _merge(other, item)
        front += same or [item]
    old[:] = front + [item for item in old if item not in front]


def _set_image(node: Any, image: Manifest) -> None:
    if isinstance(node, list):
        for item in node:
            _set_image(item, image)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "image" and isinstance(value, str):
                name, _, tag = value.partition(":")
                if name == image["name"]:
                    node[key] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
            else:
                _set_image(value, image)
