"""What a finished image goes through: marked, written with its recipe, signed last; and known again later."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import c2pa
import numpy as np
import pytest
import redis
from PIL import Image

from darkroom.errors import ConfigurationError
from darkroom.fingerprints import STREAM, FingerprintLog
from darkroom.jobs import JobStatus
from darkroom.object_store import LocalObjectStore, input_key
from darkroom.params import StoredImage
from darkroom.sealing import Sealer
from darkroom.settings import ProvenanceSettings, SecretSettings
from safety.provenance.credentials import Credentials, make_credentials
from safety.provenance.dct_mark import DctMark
from safety.provenance.encode import encode_image
from safety.provenance.manifest import ManifestSigner
from safety.provenance.recipe import Recipe, parse_recipe
from safety.provenance.watermark import payload_of
from tests.worker.workshop import Workshop
from worker.marking import Marking, pixel_digest

MARK = DctMark(b"k" * 32)
SEALER = Sealer([b"s" * 32])
TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ProvenanceSettings:
    folder = tmp_path_factory.mktemp("c2pa")
    certificate = make_credentials(folder, organisation="Test studio")
    return ProvenanceSettings(c2pa_cert_file=certificate, c2pa_key_file=folder / "c2pa-key.pem")


@pytest.fixture
def marking(settings: ProvenanceSettings, redis_client: redis.Redis) -> Marking:
    credentials = Credentials.from_settings(settings)
    assert credentials is not None
    return Marking(MARK, ManifestSigner(credentials), FingerprintLog(redis_client, kept=100), SEALER)


def state(data: bytes, content_type: str) -> str:
    with c2pa.Reader(content_type, io.BytesIO(data)) as reader:
        return str(reader.get_validation_state())


@pytest.mark.parametrize("output_format", TYPES)
def test_stored_file_is_marked_signed_and_hashed_as_it_lies(
    shop: Workshop, marking: Marking, output_format: str
) -> None:
    shop.marking = marking
    job = shop.submit(output_format=output_format, num_images=2)

    shop.run()

    for record in shop.get(job).images:
        data = shop.objects.get(record.key)
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        reading = MARK.read(pixels)
        assert reading is not None
        assert reading.payload == payload_of(job.id, record.index)
        assert state(data, TYPES[output_format]) == "Valid"
        assert hashlib.sha256(data).hexdigest() == record.sha256
        assert len(data) == record.bytes


def test_digest_of_the_pixels_is_that_before_marking(shop: Workshop, marking: Marking) -> None:
    plain = shop.submit(seed=5)
    shop.run()
    shop.marking = marking
    marked = shop.submit(seed=5)
    shop.run()

    (first,), (second,) = shop.get(plain).images, shop.get(marked).images
    bare = np.asarray(Image.open(io.BytesIO(shop.objects.get(first.key))))
    assert first.pixels_sha256 == second.pixels_sha256 == pixel_digest(bare)
    assert first.sha256 != second.sha256


def test_recipe_in_the_file_names_the_pixels(shop: Workshop, marking: Marking) -> None:
    shop.marking = marking
    job = shop.submit()

    shop.run()

    (record,) = shop.get(job).images
    text = Image.open(io.BytesIO(shop.objects.get(record.key))).info["parameters"]
    assert parse_recipe(text).pixels == record.pixels_sha256


def test_fingerprint_leads_from_the_mark_to_the_job(
    shop: Workshop, marking: Marking, redis_client: redis.Redis
) -> None:
    shop.marking = marking
    job = shop.submit()

    shop.run()

    ((_, entry),) = redis_client.xrange(STREAM)
    assert entry["of"] == f"{job.id}/0"
    assert int(entry["is"][:6], 16) == payload_of(job.id, 0)
    assert entry["owner"] == job.owner


def put_input(objects: LocalObjectStore, marking: Marking, *, signed: bool) -> StoredImage:
    """An input image as the API leaves it, which was signed by another model before."""
    pixels = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 3))
    recipe = Recipe("x", "", 1, "Euler", 1, 1, 64, 64, "another")
    clean = encode_image(pixels, output_format="png", recipe=recipe)
    key = input_key("0" * 26, "init")
    objects.put(key, clean, "image/png")
    stored = StoredImage(key=key, sha256=hashlib.sha256(clean).hexdigest(), width=64, height=64)
    if not signed:
        return stored
    original = marking.sign(clean, "image/png", model="another", ingredients=())
    objects.put(f"{key}.sealed", SEALER.seal_bytes(original), "application/octet-stream")
    return stored.model_copy(update={"original": f"{key}.sealed", "original_type": "image/png"})


@pytest.mark.parametrize("signed", [True, False])
def test_input_image_is_an_ingredient_with_the_manifest_it_came_with(
    shop: Workshop, objects: LocalObjectStore, marking: Marking, *, signed: bool
) -> None:
    shop.marking = marking
    job = shop.submit(init_image=put_input(objects, marking, signed=signed), strength=0.5)

    shop.run()

    done = shop.get(job)
    assert done.status is JobStatus.SUCCEEDED
    data = shop.objects.get(done.images[0].key)
    with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
        store = json.loads(reader.json())
    (ingredient,) = store["manifests"][store["active_manifest"]]["ingredients"]
    assert ("active_manifest" in ingredient) is signed
    assert "compositeWithTrainedAlgorithmicMedia" in Image.open(io.BytesIO(data)).info["XML:com.adobe.xmp"]


def test_settings_decide_what_is_there(settings: ProvenanceSettings, redis_client: redis.Redis, tmp_path: Path) -> None:
    secret = tmp_path / "keys"
    secret.touch(mode=0o600)
    secret.write_text("0" * 43)
    secrets = SecretSettings(secret_file=secret)
    nothing = ProvenanceSettings(watermark="off")

    everything = Marking.from_settings(settings, secrets, redis_client, SEALER)
    bare = Marking.from_settings(nothing, secrets, redis_client, SEALER)

    assert everything.signer is not None
    assert isinstance(everything.watermark, DctMark)
    assert (bare.watermark, bare.signer) == (None, None)


def test_a_mark_needs_a_key(redis_client: redis.Redis) -> None:
    with pytest.raises(ConfigurationError, match="DARKROOM_SECRET_FILE"):
        Marking.from_settings(ProvenanceSettings(), SecretSettings(), redis_client, SEALER)
