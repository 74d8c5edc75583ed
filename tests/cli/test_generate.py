from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.processes import eventually
from tests.cli.running import Running, run_darkroom, start
from tests.fixtures.ports import free_port

SLOW = ("--steps", "999", "--scheduler", "ddim", "-n", "8", "--size", "256x256")


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is not Darkroom."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--size", "big"), "--size must be WIDTHxHEIGHT, such as 128x128, not 'big'."),
        (("-o", "nowhere/out.png"), "nowhere/out.png can't be written"),
        (("-o", "out.png", "--format", "webp"), "--format webp and the file name out.png disagree."),
        (("--init-image", "none.png"), "none.png can't be read: No such file or directory."),
        (("--adapter", "ink:much"), "--adapter must be NAME or NAME:SCALE, such as ink:0.8, not 'ink:much'."),
        ((), "No service runs on darkroom-data. Start one with `darkroom up`"),
        (("--url", "http://127.0.0.1:9"), "An API key for http://127.0.0.1:9 is needed"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    done = run_darkroom("generate", "a red circle", *options, cwd=tmp_path)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    done = run_darkroom("generate", "a red circle", "--url", url, "--api-key", "dk_x", cwd=tmp_path)

    assert done.returncode == 2
    assert f"The service at {url} does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_something_else_at_the_url_is_a_sentence(tmp_path: Path, stranger: str) -> None:
    done = run_darkroom("generate", "a red circle", "--url", stranger, "--api-key", "dk_x", cwd=tmp_path)

    assert done.returncode == 2
    assert f"What answers at {stranger} is not Darkroom." in done.stderr


def test_json_tells_errors_too(tmp_path: Path) -> None:
    done = run_darkroom("generate", "a red circle", "--json", cwd=tmp_path)

    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "service_unreachable"


class Slow(BaseHTTPRequestHandler):
    """A service whose one job runs for a while, and counts the looks at it."""

    protocol_version = "HTTP/1.1"
    looks = 0
    ended = threading.Event()
    streams = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"id": "job_1", "warnings": []})

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            self._stream()
            return
        type(self).looks += 1
        error = {"code": "generation_failed", "message": "It failed."} if self.ended.is_set() else None
        status = "failed" if error else "running"
        progress = {"step": 1, "steps": 9}
        self._answer({"id": "job_1", "status": status, "progress": progress, "error": error, "warnings": []})

    def _answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(200 if self.streams else 503)
        self.end_headers()
        if self.streams:
            self.wfile.write(b"event: started\ndata: {}\n\n")
            self.ended.wait(30)
            self.wfile.write(b"event: failed\ndata: {}\n\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "fewest", "most"), [(True, 2, 5), (False, 6, 100)])
def test_waiting_for_a_job_takes_few_looks_where_its_events_can_be_followed(
    tmp_path: Path, streams: bool, fewest: int, most: int
) -> None:
    handler = type("Handler", (Slow,), {"looks": 0, "ended": threading.Event(), "streams": streams})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        timer = threading.Timer(3.5, handler.ended.set)
        timer.start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = run_darkroom("generate", "a red circle", "--url", url, "--api-key", "dk_x", cwd=tmp_path)
        server.shutdown()
        thread.join()
        timer.join()

    assert done.returncode == 1, done.stderr
    assert "The job failed: It failed. (generation_failed)" in done.stderr
    assert fewest <= handler.looks <= most


@pytest.mark.integration
class TestAgainstAService:
    def test_the_state_and_the_path_are_shown(self, service: Running, tmp_path: Path) -> None:
        done = service.run(
            "generate", "a red circle on a blue background", "-o", "out.png", "--seed", "7", cwd=tmp_path
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout == "out.png\n"
        first, *_, said = done.stderr.splitlines()
        assert first in {"queued, place 1", "queued", "running"}, "as far as it was when it was first looked at"
        assert "succeeded" in done.stderr
        assert said.startswith("Seed 7, job job_")
        with Image.open(tmp_path / "out.png") as image:
            assert image.format == "PNG"

    def test_json_names_every_file_with_its_seed_and_digest(self, service: Running, tmp_path: Path) -> None:
        options = ("-n", "2", "-o", "out.webp", "--seed", "5", "--json")

        done = service.run("generate", "a red circle", *options, cwd=tmp_path)

        answer = json.loads(done.stdout)
        assert (answer["status"], answer["error"], answer["seed"]) == ("succeeded", None, 5)
        assert [(image["path"], image["seed"]) for image in answer["images"]] == [("out-0.webp", 5), ("out-1.webp", 6)]
        for image in answer["images"]:
            assert hashlib.sha256((tmp_path / image["path"]).read_bytes()).hexdigest() == image["sha256"]

    def test_the_same_seed_gives_the_same_pixels_before_marking(self, service: Running, tmp_path: Path) -> None:
        first, second = (
            json.loads(service.run("generate", "a red circle", "--seed", "3", "--json", cwd=tmp_path).stdout)
            for _ in range(2)
        )

        assert first["id"] != second["id"]
        digests = [service.get(f"/jobs/{job['id']}")["images"][0]["pixels_sha256"] for job in (first, second)]
        assert digests[0] == digests[1]
        assert first["images"][0]["sha256"] != second["images"][0]["sha256"]  # each carries a mark of its own

    def test_a_value_out_of_range_is_refused_with_what_would_be_right(self, service: Running, tmp_path: Path) -> None:
        done = service.run("generate", "a red circle", "--steps", "5000", cwd=tmp_path)

        assert done.returncode == 2
        assert done.stderr.strip() == "num_inference_steps: must be at most 1000."

    def test_a_wrong_key_is_refused(self, service: Running, tmp_path: Path) -> None:
        done = run_darkroom("generate", "a circle", "--url", service.url, "--api-key", "dk_wrong", cwd=tmp_path)

        assert done.returncode == 2
        assert "A valid API key is needed" in done.stderr

    def test_a_blocked_prompt_ends_with_its_code_and_no_file(self, service: Running, tmp_path: Path) -> None:
        done = service.run("generate", "a forbidden-test-token", "--json", cwd=tmp_path)

        answer = json.loads(done.stdout)
        assert done.returncode == 3
        assert answer["status"] == "blocked"
        assert answer["images"] == []
        assert "was blocked: " in service.run("generate", "a forbidden-test-token", cwd=tmp_path).stderr

    def test_images_held_for_a_person_end_with_their_own_code(self, service: Running, tmp_path: Path) -> None:
        done = service.run("generate", "a zzreviewterm", cwd=tmp_path)

        assert done.returncode == 6
        assert "waits for a person's review" in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_missed_deadline_ends_with_its_code(self, service: Running, tmp_path: Path) -> None:
        done = service.run("generate", "a red circle", *SLOW, "--deadline", "1", "--json", cwd=tmp_path)

        assert done.returncode == 5
        assert json.loads(done.stdout)["status"] == "expired"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_cancels_the_job_on_the_service(self, service: Running, tmp_path: Path, number: int) -> None:
        command = ("generate", "a red circle", *SLOW, "--json", "--data", str(service.data))
        with start(*command, cwd=tmp_path) as process:
            assert eventually(lambda: service.get("/jobs")["jobs"][0]["status"] == "running", within=30)

            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=60)

        answer = json.loads(stdout)
        assert process.returncode == 4
        assert answer["status"] == "cancelled"
        assert "Cancelling the job" in stderr
        assert service.get(f"/jobs/{answer['id']}")["status"] == "cancelled"
        assert list(tmp_path.iterdir()) == []

    def test_an_image_is_painted_into_where_the_mask_is_white(self, service: Running, tmp_path: Path) -> None:
        Image.new("RGB", (128, 128), (250, 250, 250)).save(tmp_path / "start.png")
        mask = Image.new("L", (128, 128))
        mask.paste(255, (0, 0, 32, 32))
        mask.save(tmp_path / "mask.png")
        files = ("--init-image", "start.png", "--mask", "mask.png", "--strength", "0.9")

        done = service.run("generate", "a red circle", *files, "-o", "out.png", "--steps", "8", cwd=tmp_path)

        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / "out.png") as image:
            kept = image.convert("RGB").crop((64, 64, 128, 128)).resize((1, 1)).getpixel((0, 0))
        assert max(abs(a - b) for a, b in zip(kept, (250, 250, 250), strict=True)) < 40

    def test_a_file_that_is_no_image_is_refused(self, service: Running, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("a red circle")

        done = service.run("generate", "a red circle", "--init-image", "notes.txt", cwd=tmp_path)

        assert done.returncode == 2
        assert "init_image: must be a PNG, JPEG or WebP file" in done.stderr

    def test_an_unknown_adapter_is_refused(self, service: Running, tmp_path: Path) -> None:
        done = service.run("generate", "a red circle", "--adapter", "no-such-style:0.5", cwd=tmp_path)

        assert done.returncode == 2
        assert "adapters[0].name: there is no such adapter" in done.stderr

    def test_adapters_are_listed(self, service: Running) -> None:
        names = [entry["name"] for entry in json.loads(service.run("adapters", "--json").stdout)["adapters"]]

        shown = service.run("adapters").stdout
        assert all(name in shown for name in names)

    def test_models_lists_the_default(self, service: Running) -> None:
        assert "(default)" in service.run("models").stdout
        assert json.loads(service.run("models", "--json").stdout)["models"][0]["default"]


@pytest.mark.integration
class TestKeys:
    def test_a_made_key_works_until_it_is_revoked(self, service: Running, tmp_path: Path) -> None:
        token = service.run("keys", "create", "acme", "--name", "press").stdout.strip()
        options = ("generate", "a red circle", "--url", service.url, "--api-key", token)

        listed = service.run("keys", "list", "acme")
        before = run_darkroom(*options, cwd=tmp_path)
        revoked = service.run("keys", "revoke", token.split("_")[1])
        after = run_darkroom(*options, cwd=tmp_path)

        assert token.split("_")[1] in listed.stdout
        assert token.split("_", 2)[2] not in listed.stdout
        assert (before.returncode, revoked.returncode, after.returncode) == (0, 0, 2)

    def test_revoking_an_unknown_key_fails(self, service: Running) -> None:
        assert service.run("keys", "revoke", "000000000000").returncode == 1
