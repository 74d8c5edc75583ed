"""A real Prometheus scrapes the real service under load, and every panel of every dashboard shows something."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.grafana.panels import DASHBOARDS, Dashboard
from scripts.plot_dashboards import plot
from tests.fixtures.ports import free_port
from tests.fixtures.processes import eventually, running
from tests.fixtures.prometheus import Prometheus, scraping
from tests.integration.service import Caller, Service, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

HELD = "a red circle, zzreviewterm"  # an invented word that the default policy holds for a person
REFUSED = "a red circle, zzblockedterm"  # and one that it refuses
STEPS = {"num_inference_steps": 4, "seed": 1}
ZERO = " or vector(0)"
# Nothing in this load does these, so they show the zero that stands for "never yet".
QUIET = {
    "HTTP errors of ours",
    "Re-executions and lost runs",
    "Object store failing",
    "Loads and evictions",
    "Previews",
    "Checks without an answer",
    "Shadow verdicts",
    "Review decisions",
    "Appeals decided",
    "Cost by owner, an hour",
    "Spent and billed, an hour",
    "Blocked",
    "Routes: jobs by arm",
    "Routes: run time by arm, p95",
    "Routes: ratings by arm",
    "Routes: canaries taken out",
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("dashboards")
    with ExitStack() as stack:
        hook = stack.enter_context(_receiver())
        ports = {"worker": free_port(), "delivery": free_port()}
        settings = {
            "DARKROOM_METRICS_PORT": str(ports["worker"]),
            "DARKROOM_DELIVERY_METRICS_PORT": str(ports["delivery"]),
            "DARKROOM_WEBHOOK_HTTP": "true",
            "DARKROOM_WEBHOOK_PORTS": str(hook),
            "DARKROOM_WEBHOOK_NETWORKS": "127.0.0.0/8",
            "DARKROOM_METRICS_OWNERS": "ada",
        }
        service = stack.enter_context(serving(folder, **settings))
        stack.enter_context(running("worker.delivery", environment=service.environment, log=folder / "delivery.log"))
        targets = {"api": service.url.removeprefix("http://")}
        targets |= {job: f"127.0.0.1:{port}" for job, port in ports.items()}
        server = stack.enter_context(scraping(folder, targets))
        eventually(lambda: _all_up(server), seconds=60)
        for _ in range(3):
            _load(service, hook)
        eventually(lambda: _value(server, "sum(darkroom_webhook_lag_seconds_count)") > 0, seconds=60)
        eventually(lambda: _value(server, "max(darkroom_review_items)") > 0, seconds=60)
        eventually(lambda: server.ask('rate(darkroom_tickets_total{result="replaced"}[1m])'), seconds=60)  # two scrapes
        yield server


def test_one_process_tells_the_queues(prometheus: Prometheus) -> None:
    assert len(prometheus.ask("darkroom_queue_depth_jobs")) == 3  # one series a tier, from one process
    assert len(prometheus.ask("darkroom_review_items")) == 1


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_every_panel_shows_something(dashboard: Dashboard, prometheus: Prometheus) -> None:
    empty = []
    for panel in dashboard.panels:
        for legend, expression in panel.expressions.items():
            asked = expression if panel.title in QUIET else expression.removesuffix(ZERO)
            values = [float(series["value"][1]) for series in prometheus.ask(asked)]
            if not any(map(math.isfinite, values)):
                empty.append((panel.title, legend, values))
    assert empty == []


def test_listed_owners_are_named_and_no_others(prometheus: Prometheus) -> None:
    owners = {series["metric"]["owner"] for series in prometheus.ask("darkroom_owner_images_total")}

    assert owners == {"ada"}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_the_dashboard_can_be_plotted(dashboard: Dashboard, prometheus: Prometheus, tmp_path: Path) -> None:
    folder = Path(os.environ.get("DARKROOM_PLOT_FOLDER") or tmp_path)

    file = plot(dashboard, prometheus.url, folder, minutes=1)

    text = file.read_text(encoding="utf-8")
    assert text.count("<polyline") >= len(dashboard.panels)
    assert all(panel.title in text for panel in dashboard.panels)


def _load(service: Service, hook: int) -> None:
    """Jobs of all tiers at once: some alike, one refused, one that a person must see, one with a webhook."""
    caller = Caller(service)
    webhook = {"url": f"http://127.0.0.1:{hook}/hook", "events": ["job.succeeded"]}
    bodies = [{"prompt": "a red circle", "tier": tier} for tier in ("preview", "standard", "quality")] * 2
    bodies += [{"prompt": "a blue square", "webhook": webhook}, {"prompt": HELD}, {"prompt": REFUSED}]
    names = [caller.submit(**{**STEPS, **body}) for body in bodies]
    for name in names:
        job = caller.result(name) if name != names[-2] else None
        for image in (job or {}).get("images", ()):
            caller.download(image)
    caller.http.close()


def _all_up(server: Prometheus) -> bool:
    return _value(server, "sum(up)") == 3 and bool(server.ask("darkroom_queue_depth_jobs"))


def _value(server: Prometheus, expression: str) -> float:
    series = server.ask(expression)
    return float(series[0]["value"][1]) if series else 0.0


@contextmanager
def _receiver() -> Iterator[int]:
    """A receiver of webhooks that takes everything; gives its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Takes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Takes(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""
