"""Webhooks through the whole service: the command makes an endpoint, a job ends, a signed event arrives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook

from tests.cli.processes import eventually
from tests.cli.running import Running, darkroom_up

pytestmark = pytest.mark.integration
Received = list[tuple[dict[str, str], bytes]]


@pytest.fixture
def receiver() -> Iterator[tuple[str, Received]]:
    received: Received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", received
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose operator lets webhooks go to this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKROOM_WEBHOOK_HTTP", "true")
        patch.setenv("DARKROOM_WEBHOOK_PORTS", "1-65535")
        patch.setenv("DARKROOM_WEBHOOK_NETWORKS", "127.0.0.0/8")
        with darkroom_up(tmp_path_factory.mktemp("webhooks")) as running:
            yield running


def test_job_is_told_from_its_start_to_its_end(open_service: Running, receiver: tuple[str, Received]) -> None:
    url, received = receiver

    made = open_service.run("webhooks", "create", url)
    assert made.returncode == 0, made.stderr
    secret, endpoint = made.stdout.strip(), made.stderr.split()[1].rstrip(".")
    drawn = open_service.run("generate", "a red circle", "--steps", "2", "-o", "out.png", cwd=open_service.data)
    assert drawn.returncode == 0, drawn.stderr
    assert open_service.run("webhooks", "test", endpoint).returncode == 0
    assert eventually(lambda: len(received) >= 3, within=30)

    bodies = [Webhook(secret).verify(body, headers) for headers, body in received]
    assert {body["type"] for body in bodies} == {"job.started", "job.succeeded", "webhook.test"}
    done = next(body for body in bodies if body["type"] == "job.succeeded")
    assert open_service.get(f"/jobs/{done['data']['job_id']}")["status"] == "succeeded"
    assert done["data"]["url"] == f"{open_service.url}/jobs/{done['data']['job_id']}"
    assert b"red circle" not in b"".join(body for _, body in received)


def test_endpoints_life_from_the_terminal(open_service: Running, receiver: tuple[str, Received]) -> None:
    made = open_service.run("webhooks", "create", receiver[0], "--event", "job.failed", "--description", "shop")
    endpoint = made.stderr.split()[1].rstrip(".")

    listed = open_service.run("webhooks", "list").stdout
    rotated = open_service.run("webhooks", "rotate", endpoint, "--overlap", "60")
    off = open_service.run("webhooks", "disable", endpoint)
    refused = open_service.run("webhooks", "test", endpoint)
    on = open_service.run("webhooks", "enable", endpoint)
    calls = (["attempts", endpoint], ["undelivered"], ["replay"], ["secret"])
    others = [open_service.run("webhooks", *words) for words in calls]
    gone = open_service.run("webhooks", "delete", endpoint)

    assert endpoint in listed
    assert made.stdout.strip() not in listed
    assert rotated.stdout.startswith("whsec_")
    assert rotated.stdout != made.stdout
    assert (off.returncode, on.returncode, gone.returncode) == (0, 0, 0)
    assert [done.returncode for done in others] == [0, 0, 0, 0]
    assert (refused.returncode, "disabled" in refused.stderr) == (2, True)
    assert open_service.run("webhooks", "delete", endpoint).returncode == 2


def test_forbidden_receiver_is_refused_in_one_sentence(open_service: Running) -> None:
    done = open_service.run("webhooks", "create", "http://169.254.169.254/latest/meta-data/")

    assert (done.returncode, done.stdout) == (2, "")
    assert "url: must lead to a public address" in done.stderr
    assert json.dumps(done.stderr).count("\\n") == 1
