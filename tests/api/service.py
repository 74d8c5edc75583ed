"""Makes the API as it runs in production, over a real Valkey and a folder, with callers and finished jobs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from starlette.testclient import TestClient

from api.app import create_app
from api.services import Services, connect
from darkroom.job_store import Claim, JobStore
from darkroom.jobs import ImageRecord, JobError, JobStatus, Tier
from darkroom.keys import DEFAULT_SCOPES, KeyStore, Scope
from darkroom.object_store import ObjectStore, output_key
from darkroom.redis_client import make_redis
from darkroom.settings import (
    ApiSettings,
    CatalogueSettings,
    JobSettings,
    ObjectStoreSettings,
    OwnersSettings,
    ProvenanceSettings,
    RedisSettings,
    ReviewSettings,
    SafetySettings,
    SecretSettings,
    WebhookSettings,
)
from tests.fixtures.ports import free_port
from tests.fixtures.secret_file import SEALER, write_secret_file

LINK_SECRET = "a secret for links in tests"
LORA = b"not read by the API, only hashed"
CATALOGUE = f"""
default = "tiny"

[models.tiny]
source = {{ folder = "tiny" }}
description = "Small."
licence = "Apache-2.0"
native_sizes = [[128, 128], [128, 64]]
min_side = 64
max_side = 256
max_pixels = 49152
max_tokens = 77
guidance_scale = 5.0

[models.other]
source = {{ folder = "tiny" }}
licence = "Apache-2.0"
few_step = true
native_sizes = [[512, 512]]
scheduler = "lcm"
num_inference_steps = 4
guidance_scale = 1.0
inpaint = "none"

[models.painter]
source = {{ folder = "tiny" }}
licence = "Apache-2.0"
native_sizes = [[128, 128]]
inpaint = "native"

[adapters.ink]
model = "tiny"
file = "style.safetensors"
sha256 = "{hashlib.sha256(LORA).hexdigest()}"
licence = "MIT"
description = "Black lines."
trigger = "ink drawing"
default_scale = 0.8

[adapters.gore]
model = "tiny"
file = "style.safetensors"
sha256 = "{hashlib.sha256(LORA).hexdigest()}"
licence = "MIT"
trigger = "forbidden-test-token"

[adapters.logo]
model = "tiny"
file = "style.safetensors"
sha256 = "{hashlib.sha256(LORA).hexdigest()}"
licence = "proprietary"
owners = ["acme"]

[adapters.others]
model = "other"
file = "style.safetensors"
sha256 = "{hashlib.sha256(LORA).hexdigest()}"
licence = "MIT"

[embeddings.moss]
model = "tiny"
file = "style.safetensors"
sha256 = "{hashlib.sha256(LORA).hexdigest()}"
token = "<moss>"
"""


@dataclass(frozen=True)
class Places:
    """Where one test run's service keeps its things."""

    redis_url: str
    catalogue: Path
    objects: Path
    secret_file: Path

    def environment(self) -> dict[str, str]:
        return {
            "DARKROOM_REDIS_URL": self.redis_url,
            "DARKROOM_CATALOGUE": str(self.catalogue),
            "DARKROOM_OBJECT_STORE_FOLDER": str(self.objects),
            "DARKROOM_LINK_SECRET": LINK_SECRET,
            "DARKROOM_SECRET_FILE": str(self.secret_file),
            "DARKROOM_PUBLIC_URL": "http://testserver",
            "DARKROOM_REFUSALS_PER_MINUTE": "0",
        }


def make_places(redis_url: str, folder: Path) -> Places:
    """A catalogue whose model has a tokenizer: one token a word, and start and end."""
    model = folder / "tiny"
    (model / "tokenizer").mkdir(parents=True)
    (model / "model_index.json").write_text("{}", encoding="utf-8")
    (model / "tokenizer" / "tokenizer.json").write_text(json.dumps(_word_tokenizer()), encoding="utf-8")
    (folder / "style.safetensors").write_bytes(LORA)
    catalogue = folder / "catalogue.toml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    return Places(redis_url, catalogue, folder / "objects", write_secret_file(folder))


def make_services(
    places: Places, *, redis_url: str | None = None, provenance: ProvenanceSettings | None = None
) -> Services:
    return connect(
        redis_settings=RedisSettings(redis_url=redis_url or places.redis_url, redis_timeout_seconds=1.0),
        job_settings=JobSettings(),
        owners_settings=OwnersSettings(),
        secret_settings=SecretSettings(secret_file=places.secret_file),
        object_settings=ObjectStoreSettings(
            object_store_folder=places.objects, link_secret=LINK_SECRET, public_url="http://testserver"
        ),
        catalogue_settings=CatalogueSettings(catalogue=places.catalogue),
        safety_settings=SafetySettings(),
        webhook_settings=WebhookSettings(),
        provenance_settings=provenance or ProvenanceSettings(),
        review_settings=ReviewSettings(),
    )


@contextmanager
def serving(services: Services, **settings: Any) -> Iterator[TestClient]:
    """A client of the API over these services."""
    with TestClient(
        create_app(settings=ApiSettings(**{"refusals_per_minute": 0} | settings), services=services)
    ) as client:
        yield client


class Caller:
    """One owner with one key, calling the API."""

    def __init__(
        self,
        client: httpx2.Client,
        keys: KeyStore,
        scopes: Collection[Scope] = DEFAULT_SCOPES,
        owner: str | None = None,
    ) -> None:
        self.client = client
        self.owner = owner or f"owner-{secrets.token_hex(4)}"
        self.token = keys.create(self.owner, "test", scopes).token

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", **{name.replace("_", "-"): more[name] for name in more}}

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.client.get(path, headers=self.headers(**headers))

    def post(self, path: str, **headers: str) -> httpx2.Response:
        return self.client.post(path, headers=self.headers(**headers))

    def generate(self, body: Any = None, **headers: str) -> httpx2.Response:
        body = {"prompt": "a red circle"} if body is None else body
        return self.client.post("/generate", json=body, headers=self.headers(**headers))

    def generate_form(self, body: Any, files: Mapping[str, bytes], **headers: str) -> httpx2.Response:
        """Send the request as a part, and each file as one."""
        parts = {"request": (None, json.dumps(body), "application/json")}
        parts |= {name: (f"{name}.png", data, "image/png") for name, data in files.items()}
        return self.client.post("/generate", files=parts, headers=self.headers(**headers))

    def submit(self, **fields: Any) -> str:
        """The id of a new job."""
        response = self.generate({"prompt": "a red circle", **fields})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])


class Worker:
    """Does to records what a worker would do, without making pictures."""

    def __init__(self, places: Places, objects: ObjectStore) -> None:
        self.jobs = JobStore(make_redis(RedisSettings(redis_url=places.redis_url)), JobSettings(), SEALER)
        self.objects = objects

    def claim(self, job_id: str) -> Claim:
        """Claim jobs until this one's turn has come."""
        while True:
            nonce = secrets.token_hex(8)
            claim = self.jobs.claim(tier=Tier.STANDARD, worker="test", nonce=nonce, lease_seconds=60, models=None)
            assert claim is not None, "the job is not waiting"
            if claim.job.id == job_id:
                return claim

    def succeed(self, job_id: str, *, data: bytes = b"a picture", decisions: Collection[str] = ("allow",)) -> None:
        self._end(self.claim(job_id), JobStatus.SUCCEEDED, data, decisions)

    def hold(self, job_id: str, *, decisions: Collection[str]) -> None:
        self._end(self.claim(job_id), JobStatus.IN_REVIEW, b"a picture", decisions)

    def succeed_next(self) -> None:
        """End whichever standard job is next, if one waits."""
        nonce = secrets.token_hex(8)
        claim = self.jobs.claim(tier=Tier.STANDARD, worker="test", nonce=nonce, lease_seconds=60, models=None)
        if claim is not None:
            self._end(claim, JobStatus.SUCCEEDED, b"a picture", ["allow"] * claim.job.params.num_images)

    def _end(self, claim: Claim, status: JobStatus, data: bytes, decisions: Collection[str]) -> None:
        job_id = claim.job.id
        images = []
        for index, decision in enumerate(decisions):
            key = output_key(job_id, claim.attempt, index, ending="png")
            self.objects.put(key, data, "image/png")
            images.append(_image(index, key, data, seed=claim.job.params.seed + index, decision=decision))
        self.jobs.commit(claim, status=status, images=images, error=None)

    def fail(self, job_id: str, *, code: str) -> None:
        self.jobs.commit(self.claim(job_id), status=JobStatus.FAILED, images=[], error=JobError(code, "It failed."))


def _image(index: int, key: str, data: bytes, *, seed: int, decision: str) -> ImageRecord:
    return ImageRecord(
        index=index,
        key=key,
        seed=seed,
        width=128,
        height=128,
        content_type="image/png",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        decision=decision,
    )


def _word_tokenizer() -> dict[str, Any]:
    special = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    tokens = {name: {"id": name, "ids": [number], "tokens": [name]} for number, name in enumerate(("<s>", "</s>"))}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [*special, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [*special, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": tokens,
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"<s>": 0, "</s>": 1, "<unk>": 2}, "unk_token": "<unk>"},
    }


def make_image(width: int, height: int, *, grey: int = 255) -> str:
    """A picture of one grey, in base64."""
    return base64.b64encode(make_png(width, height, grey=grey)).decode()


def make_png(width: int, height: int, *, grey: int = 255) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), grey).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class LiveApi:
    """`python -m api` in a process of its own."""

    url: str
    pid: int
    log: Path


@contextmanager
def live_process(places: Places, *, log: Path, **more: str) -> Iterator[LiveApi]:
    """Start the API as an operator does, and stop it with SIGTERM."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, **places.environment(), "DARKROOM_PORT": str(port), "DARKROOM_PUBLIC_URL": url, **more}
    with log.open("wb") as stderr, subprocess.Popen([sys.executable, "-m", "api"], env=env, stderr=stderr) as process:
        try:
            _wait_until_ready(url, process)
            yield LiveApi(url, process.pid, log)
        finally:
            process.terminate()
            code = process.wait(20)
    assert code in {0, -signal.SIGTERM}, log.read_text(encoding="utf-8")


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the API did not become ready")
