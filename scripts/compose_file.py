"""Reads a compose file as far as docker-compose.yml uses the format: services, their wiring, variables.

Knows nothing of how they are run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")
_UNITS = {"s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Mount:
    """What lies at one path of a container."""

    target: str
    source: str
    is_volume: bool


@dataclass(frozen=True)
class HealthCheck:
    test: tuple[str, ...]
    patience: float  # seconds until a service that does not answer is unhealthy


@dataclass(frozen=True)
class Container:
    """One service of the file."""

    name: str
    image: str
    dockerfile: str | None
    command: tuple[str, ...]
    environment: Mapping[str, str]
    depends_on: Mapping[str, str]  # service: condition
    mounts: tuple[Mount, ...]
    ports: tuple[int, ...]
    published: Mapping[int, int]  # port of the host: port of the container
    health: HealthCheck | None
    stop_seconds: float

    @property
    def ends(self) -> bool:
        """Whether it is a job, which runs once."""
        return self.health is None


def read_compose(path: Path, variables: Mapping[str, str]) -> dict[str, Container]:
    """The services by name, with the variables put in."""
    text = yaml.safe_load(path.read_text(encoding="utf-8"))
    services = _interpolated(text["services"], variables)
    return {name: _container(name, service, services) for name, service in services.items()}


def in_order(containers: Mapping[str, Container]) -> Iterator[Container]:
    """The services, each after those it depends on."""
    done: set[str] = set()
    while len(done) < len(containers):
        ready = [item for item in containers.values() if item.name not in done and set(item.depends_on) <= done]
        if not ready:
            raise ValueError("the services depend on each other in a circle")
        yield ready[0]
        done.add(ready[0].name)


def seconds(duration: str) -> float:
    return float(duration[:-1]) * _UNITS[duration[-1]]


def _container(name: str, service: Mapping[str, Any], services: Mapping[str, Any]) -> Container:
    published = dict(_published(entry) for entry in service.get("ports", []))
    build = service.get("build")
    return Container(
        name=name,
        image=service["image"],
        dockerfile=build["dockerfile"] if build else None,
        command=tuple(service.get("command", ())),
        environment={key: str(value) for key, value in service.get("environment", {}).items()},
        depends_on={
            other: how["condition"] for other, how in service.get("depends_on", {}).items() if other in services
        },
        mounts=tuple(
            Mount(entry["target"], entry["source"], entry["type"] == "volume") for entry in service.get("volumes", [])
        ),
        ports=(*map(int, service.get("expose", [])), *published.values()),
        published=published,
        health=_health(service.get("healthcheck")),
        stop_seconds=seconds(service.get("stop_grace_period", "10s")),
    )


def _health(check: Mapping[str, Any] | None) -> HealthCheck | None:
    if check is None:
        return None
    patience = seconds(check["start_period"]) + seconds(check["interval"]) * int(check["retries"])
    return HealthCheck(tuple(check["test"]), patience)


def _published(entry: str) -> tuple[int, int]:
    *_, host, container = entry.split(":")
    return int(host), int(container)


def _interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _value(match, variables), value)
    if isinstance(value, dict):
        return {key: _interpolated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolated(item, variables) for item in value]
    return value


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    if found := variables.get(match["name"]):
        return found
    if match["kind"] == "?":
        raise ValueError(f"{match['name']} {match['text']}")
    return match["text"] or ""
