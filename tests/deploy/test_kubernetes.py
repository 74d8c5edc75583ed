"""The manifests: valid by the schemas, and of one mind with the code that they run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import redis
import typer
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from api.main import SHUTDOWN_SECONDS
from api.routes import health
from cli.main import app
from cli.services import find_valkey
from darkroom import __version__
from darkroom.catalogue import load_catalogue
from darkroom.jobs import Tier
from darkroom.metrics import Metrics
from darkroom.settings import ALL_SETTINGS, WebhookSettings, WorkerSettings
from tests.deploy.kustomize import KUBERNETES, ROOT, Manifest, has_kubectl, render, render_by_kubectl
from tests.deploy.pods import OURS, Pod, may_reach, of_kind, one, pods, selects
from tests.fixtures.ports import free_port
from worker.drain import LINGER_SECONDS
from worker.status_server import status_app

OVERLAYS = ("cpu", "gpu", "keda")
FOLDERS = ("base", "stores", "models", *(f"overlays/{name}" for name in OVERLAYS))
VERSIONS = ("1.31", "1.37")  # the oldest that the manifests are for, and the newest known
FIELDS = {f"{cls.prefix()}{name.upper()}": cls for cls in ALL_SETTINGS for name in cls.model_fields}


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(KUBERNETES / "overlays" / request.param)


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


@pytest.mark.skipif(not has_kubectl(), reason="kubectl is not installed")
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_renders_the_same(folder: str) -> None:
    assert by_name(render(KUBERNETES / folder)) == by_name(render_by_kubectl(KUBERNETES / folder))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_and_says_nothing_unknown(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        if manifest["kind"] != "ScaledObject":
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_job_that_pulls_models_is_valid_and_fills_the_volume_that_workers_read(version: str) -> None:
    job_and_policy = render(KUBERNETES / "models")
    for manifest in job_and_policy:
        kubernetes_validate.validate(manifest, version, strict=True)

    pull = pods(job_and_policy)["darkroom-models-pull"]
    workers = pods(render(KUBERNETES / "overlays" / "gpu"))["darkroom-worker"]
    claims = [
        {volume["persistentVolumeClaim"]["claimName"] for volume in pod.spec["volumes"] if volume["name"] == "models"}
        for pod in (pull, workers)
    ]
    assert claims[0] == claims[1] == {"darkroom-models"}
    assert may_reach(job_and_policy, pull, "93.184.216.34", 443)
    assert not may_reach(job_and_policy, pull, "10.0.0.1", 443)


def test_the_job_that_pulls_models_says_what_the_command_takes() -> None:
    container = pods(render(KUBERNETES / "models"))["darkroom-models-pull"].container
    assert container["command"] == ["python", "-m", "cli", "models", "pull"]

    command = typer.main.get_command(app).commands["models"].commands["pull"]
    taken = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in container["args"] if argument.startswith("--")} <= taken


def test_a_misspelt_field_would_be_seen(manifests: list[Manifest]) -> None:
    worker = one(manifests, "Deployment", "darkroom-worker")
    worker["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 1

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(worker, VERSIONS[-1], strict=True)


def test_names_are_given_once(manifests: list[Manifest]) -> None:
    assert len(by_name(manifests)) == len(manifests)


@pytest.mark.parametrize(("name", "module"), OURS.items())
def test_pods_run_our_programs(manifests: list[Manifest], name: str, module: str) -> None:
    command = pods(manifests)[name].container["command"]

    assert command == ["python", "-m", module]
    assert importlib.util.find_spec(f"{module}.__main__")


def test_images_are_of_this_version(manifests: list[Manifest]) -> None:
    for name in OURS:
        tag = pods(manifests)[name].container["image"].rpartition(":")[2]
        assert tag.split("-")[0] == __version__


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_with_a_value_that_is_valid(
    manifests: list[Manifest], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = pods(manifests)[name].environment(manifests)
    ours = {variable for variable in environment if variable.startswith("DARKROOM_")}

    assert ours <= set(FIELDS)
    for variable in ours:
        monkeypatch.setenv(variable, environment[variable])
    for cls in ALL_SETTINGS:
        cls.from_env()


def test_workers_serve_every_tier(manifests: list[Manifest]) -> None:
    assert set(tiers_of(pods(manifests)["darkroom-worker"], manifests)) == set(Tier)


def tiers_of(pod: Pod, manifests: list[Manifest]) -> tuple[Tier, ...]:
    return WorkerSettings(worker_tiers=pod.environment(manifests)["DARKROOM_WORKER_TIERS"]).tiers


@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("darkroom-api", {"http": "DARKROOM_PORT", "metrics": "DARKROOM_API_METRICS_PORT"}),
        ("darkroom-delivery", {"metrics": "DARKROOM_DELIVERY_METRICS_PORT"}),
        ("darkroom-worker", {"metrics": "DARKROOM_METRICS_PORT"}),
    ],
)
def test_ports_are_those_that_the_programs_listen_on(
    manifests: list[Manifest], name: str, ports: dict[str, str]
) -> None:
    pod = pods(manifests)[name]
    environment = pod.environment(manifests)

    told = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
    assert told == {port: int(environment[variable]) for port, variable in ports.items()}
    assert all(environment[key] == "0.0.0.0" for key in environment if key.endswith("_HOST"))
    assert pod.template["metadata"]["annotations"]["prometheus.io/port"] == str(told["metrics"])


def test_the_service_leads_to_the_apis_port(manifests: list[Manifest]) -> None:
    service, api = one(manifests, "Service", "darkroom-api"), pods(manifests)["darkroom-api"]

    assert selects({"matchLabels": service["spec"]["selector"]}, api.labels)
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


def test_probes_ask_for_what_the_programs_serve(manifests: list[Manifest]) -> None:
    served = {
        "darkroom-api": {route.path for route in health.router.routes},
        "darkroom-worker": {"/healthz"},
        "darkroom-delivery": {"/metrics"},  # its port serves nothing else
    }
    for name, paths in served.items():
        container = pods(manifests)[name].container
        probes = [container[probe]["httpGet"] for probe in container if probe.endswith("Probe")]
        assert {probe["path"] for probe in probes} <= paths
        assert {probe["port"] for probe in probes} <= {port["name"] for port in container["ports"]}
        assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_the_api_lives_on_while_its_stores_are_away(manifests: list[Manifest]) -> None:
    container = pods(manifests)["darkroom-api"].container

    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize(("fault", "status"), [(None, "200 OK"), ("stands still", "503 Service Unavailable")])
def test_a_workers_probe_tells_its_health(manifests: list[Manifest], fault: str | None, status: str) -> None:
    path = pods(manifests)["darkroom-worker"].container["livenessProbe"]["httpGet"]["path"]
    answers: list[str] = []

    status_app(Metrics(), lambda: fault)({"PATH_INFO": path}, lambda line, _headers: answers.append(line))

    assert answers == [status]


def test_pods_are_given_the_time_that_their_programs_take_to_leave(manifests: list[Manifest]) -> None:
    found = pods(manifests)
    worker = WorkerSettings(grace_seconds=found["darkroom-worker"].environment(manifests)["DARKROOM_GRACE_SECONDS"])
    pause = found["darkroom-api"].container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = {
        "darkroom-worker": worker.grace_seconds + LINGER_SECONDS + 5,
        "darkroom-api": pause + SHUTDOWN_SECONDS + 10,
        "darkroom-delivery": FIELDS["DARKROOM_DELIVERY_TIMEOUT_SECONDS"]().delivery_timeout_seconds + 5,
    }

    for name, seconds in needed.items():
        assert found[name].spec["terminationGracePeriodSeconds"] >= seconds


def test_a_drain_of_nodes_takes_one_pod_of_a_kind_at_a_time(manifests: list[Manifest]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")

    for pod in pods(manifests).values():
        (budget,) = [budget for budget in budgets if selects(budget["spec"]["selector"], pod.labels)]
        assert budget["spec"]["maxUnavailable"] == (0 if pod.name == "darkroom-valkey" else 1)


def test_pods_have_no_more_rights_than_they_need(manifests: list[Manifest]) -> None:
    for pod in pods(manifests).values():
        inside = pod.container["securityContext"]
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert inside == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(pod.container["resources"]["requests"])
        assert "memory" in pod.container["resources"]["limits"]


def test_priorities_exist_and_put_callers_first(manifests: list[Manifest]) -> None:
    values = {entry["metadata"]["name"]: entry["value"] for entry in of_kind(manifests, "PriorityClass")}
    found = {name: values[pod.spec["priorityClassName"]] for name, pod in pods(manifests).items()}

    assert found["darkroom-api"] > found["darkroom-delivery"] > found["darkroom-worker"]


def test_what_a_pod_mounts_is_there_and_secrets_are_those_of_the_page(manifests: list[Manifest]) -> None:
    told = set(re.findall(r"--from-(?:literal|file)=([a-z0-9.-]+)=", (ROOT / "docs" / "kubernetes.md").read_text()))
    used: set[str] = set()
    for pod in pods(manifests).values():
        claims = [claim["metadata"] for claim in pod.workload["spec"].get("volumeClaimTemplates", [])]
        names = {volume["name"] for volume in (*pod.spec["volumes"], *claims)}
        assert {mount["name"] for mount in pod.container["volumeMounts"]} == names
        for volume in pod.spec["volumes"]:
            if "configMap" in volume:
                one(manifests, "ConfigMap", volume["configMap"]["name"])
            if "secret" in volume:
                assert volume["secret"]["secretName"] == "darkroom-secrets"
                used |= {item["key"] for item in volume["secret"]["items"]}
        for entry in pod.container.get("env", []):
            if "valueFrom" in entry:
                used.add(entry["valueFrom"]["secretKeyRef"]["key"])

    assert used == told


def test_nothing_is_open_that_no_policy_opens(manifests: list[Manifest]) -> None:
    spec = one(manifests, "NetworkPolicy", "darkroom-nothing")["spec"]

    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.9.9", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1"]
)
def test_webhooks_reach_no_private_address(manifests: list[Manifest], address: str) -> None:
    delivery = pods(manifests)["darkroom-delivery"]

    assert not any(may_reach(manifests, delivery, address, port) for port in WebhookSettings().ports)


def test_webhooks_reach_the_internet_on_the_ports_that_are_allowed_and_no_other(manifests: list[Manifest]) -> None:
    delivery = pods(manifests)["darkroom-delivery"]
    reached = {port for port in range(1, 65_536, 1) if may_reach(manifests, delivery, "93.184.216.34", port)}

    assert reached == WebhookSettings().ports


@pytest.mark.parametrize("name", ["darkroom-api", "darkroom-worker"])
def test_others_reach_nothing_outside_but_their_stores(manifests: list[Manifest], name: str) -> None:
    pod = pods(manifests)[name]

    assert may_reach(manifests, pod, "93.184.216.34", 443)  # the bucket
    assert not any(may_reach(manifests, pod, "93.184.216.34", port) for port in (22, 25, 80, 6379, 8443))


def test_prometheus_reaches_the_metrics_and_nothing_else(manifests: list[Manifest]) -> None:
    (rule,) = one(manifests, "NetworkPolicy", "darkroom-monitoring")["spec"]["ingress"]
    told = {
        port["containerPort"]
        for name in OURS
        for port in pods(manifests)[name].container["ports"]
        if port["name"] == "metrics"
    }

    assert {entry["port"] for entry in rule["ports"]} == told


def test_the_apis_autoscaler_owns_its_number(manifests: list[Manifest]) -> None:
    scaler = one(manifests, "HorizontalPodAutoscaler", "darkroom-api")["spec"]

    assert "replicas" not in one(manifests, "Deployment", scaler["scaleTargetRef"]["name"])["spec"]
    assert scaler["minReplicas"] >= 2


def test_the_example_of_a_catalogue_can_be_read(tmp_path: Path) -> None:
    text = one(render(KUBERNETES / "overlays" / "gpu"), "ConfigMap", "darkroom-catalogue")["data"]["catalogue.toml"]
    (tmp_path / "catalogue.toml").write_text(text.replace("/app/", f"{ROOT}/"))

    assert "darkroom-tiny" in load_catalogue(tmp_path / "catalogue.toml").models


def test_valkey_starts_with_its_settings_and_asks_for_the_password(tmp_path: Path) -> None:
    """The pod's own command, with the folders of this machine."""
    manifests = render(KUBERNETES / "stores")
    port, valkey = free_port(), pods(manifests)["darkroom-valkey"]
    settings = one(manifests, "ConfigMap", "darkroom-valkey")["data"]["valkey.conf"]
    assert "port 6379\n" in settings
    assert "dir /data\n" in settings
    command = valkey.container["command"][-1]
    for place in ("/tmp", "/etc/valkey", "/run/secrets/darkroom"):  # /tmp first: this machine's folders may lie there
        command = command.replace(f"{place}/", f"{tmp_path}/")
    command = command.replace("exec valkey-server", f"exec {find_valkey()}").replace(
        f"> {tmp_path}/valkey.conf", f"> {tmp_path}/made.conf"
    )
    command = command.removesuffix("valkey.conf") + "made.conf"
    settings = settings.replace("port 6379", f"port {port}\nbind 127.0.0.1").replace("dir /data", f"dir {tmp_path}")
    (tmp_path / "valkey.conf").write_text(settings)
    (tmp_path / "redis-password").write_text("a-word")

    process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, password="a-word", retry=Retry(ConstantBackoff(0.1), 100)) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        process.terminate()
        assert process.wait(20) == 0
