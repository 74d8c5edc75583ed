"""`POST /verify`: what a file says, what is hidden in its pixels, and which of the caller's images it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import redis
from PIL import Image
from starlette.testclient import TestClient

from api.services import Services
from darkroom.fingerprints import Fingerprint, FingerprintLog
from darkroom.keys import KeyStore
from darkroom.object_store import input_key
from darkroom.object_store.keys import original_key
from darkroom.redis_client import make_redis
from darkroom.sealing import derived_keys
from darkroom.settings import ProvenanceSettings, RedisSettings, SecretSettings
from safety.provenance.credentials import Credentials, make_credentials
from safety.provenance.dct_mark import DctMark
from safety.provenance.encode import encode_image
from safety.provenance.manifest import ManifestSigner
from safety.provenance.phash import looks_of
from safety.provenance.reading import KEY_PURPOSE
from safety.provenance.recipe import Recipe
from safety.provenance.watermark import payload_of
from tests.api.service import Caller, Places, Worker, make_services, serving
from tests.fixtures.secret_file import SEALER
from tests.safety.test_dct_mark import painted

RECIPE = Recipe("a red circle", "", 25, "Euler", 5.0, 3, 128, 128, "tiny")


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> ProvenanceSettings:
    folder = tmp_path_factory.mktemp("c2pa")
    return ProvenanceSettings(
        c2pa_cert_file=make_credentials(folder, organisation="Test studio"), c2pa_key_file=folder / "c2pa-key.pem"
    )


@pytest.fixture(scope="module")
def signing(places: Places, credentials: ProvenanceSettings) -> Iterator[TestClient]:
    """The API with a certificate to trust."""
    with serving(make_services(places, provenance=credentials)) as client:
        yield client


@pytest.fixture
def signer(credentials: ProvenanceSettings) -> ManifestSigner:
    given = Credentials.from_settings(credentials)
    assert given is not None
    return ManifestSigner(given)


@pytest.fixture
def mark(places: Places) -> DctMark:
    return DctMark(derived_keys(SecretSettings(secret_file=places.secret_file), KEY_PURPOSE)[0])


@pytest.fixture
def fingerprints(places: Places) -> Iterator[FingerprintLog]:
    client: redis.Redis = make_redis(RedisSettings(redis_url=places.redis_url))
    yield FingerprintLog(client, kept=100)
    client.close()


@pytest.fixture
def asking(signing: TestClient, keys: KeyStore) -> Caller:
    return Caller(signing, keys)


def verify(caller: Caller, data: bytes) -> httpx2.Response:
    return caller.client.post("/verify", files={"image": ("x.png", data)}, headers=caller.headers())


def file_of(pixels: np.ndarray, output_format: str = "png") -> bytes:
    return encode_image(pixels, output_format=output_format, recipe=RECIPE)


def make_job(caller: Caller, worker: Worker) -> str:
    job_id = str(caller.generate().json()["id"])
    worker.succeed(job_id)
    return job_id


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_our_own_file_is_known_by_everything_it_carries(
    asking: Caller, mark: DctMark, signer: ManifestSigner, output_format: str
) -> None:
    data = signer.sign(file_of(mark.embed(painted(1), 0xABCDEF), output_format), f"image/{output_format}", model="tiny")

    answer = verify(asking, data)

    assert answer.status_code == 200
    body = answer.json()
    assert body["made_here"] is True
    assert (body["manifest"]["state"], body["manifest"]["issuer"]) == ("trusted", "Test studio")
    assert (body["watermark"]["found"], body["watermark"]["payload"]) == (True, "abcdef")
    assert body["recipe"] == RECIPE.as_text()
    assert body["matches"] == []


def test_changed_file_is_invalid_and_still_marked(asking: Caller, mark: DctMark, signer: ManifestSigner) -> None:
    signed = bytearray(signer.sign(file_of(mark.embed(painted(2), 5), "jpeg"), "image/jpeg", model="tiny"))
    signed[-40] ^= 1

    body = verify(asking, bytes(signed)).json()

    assert body["manifest"]["state"] == "invalid"
    assert body["manifest"]["problems"] == ["assertion.dataHash.mismatch"]
    assert body["watermark"]["found"] is True


def test_strangers_file_was_not_made_here(asking: Caller) -> None:
    buffer = io.BytesIO()
    Image.fromarray(painted(3)).save(buffer, "PNG")

    body = verify(asking, buffer.getvalue()).json()

    assert (body["made_here"], body["recipe"]) == (False, None)
    assert body["manifest"]["state"] == "none"
    assert body["watermark"] == {"found": False, "payload": None, "strength": None}


def test_own_job_is_named_by_the_mark_and_by_its_looks(
    asking: Caller, worker: Worker, mark: DctMark, fingerprints: FingerprintLog
) -> None:
    job_id = make_job(asking, worker)
    pixels, payload = painted(4), payload_of(job_id, 0)
    fingerprints.add(Fingerprint(asking.owner, job_id, 0, payload, looks_of(pixels)))

    marked = verify(asking, file_of(mark.embed(pixels, payload))).json()
    bare = verify(asking, file_of(pixels, "webp")).json()

    assert [(each["job_id"], each["by"]) for each in marked["matches"]] == [(job_id, "watermark")]
    assert [(each["job_id"], each["by"]) for each in bare["matches"]] == [(job_id, "looks")]
    assert (bare["made_here"], bare["similar_here"]) == (False, True)


def test_other_owners_jobs_are_never_named(
    asking: Caller, signing: TestClient, keys: KeyStore, worker: Worker, mark: DctMark,
    fingerprints: FingerprintLog,
) -> None:  # fmt: skip
    other = Caller(signing, keys)
    job_id = make_job(other, worker)
    pixels, payload = painted(5), payload_of(job_id, 0)
    fingerprints.add(Fingerprint(other.owner, job_id, 0, payload, looks_of(pixels)))

    answer = verify(asking, file_of(mark.embed(pixels, payload)))

    assert answer.json()["made_here"] is True
    assert answer.json()["matches"] == []
    assert job_id not in answer.text
    assert other.owner not in answer.text


def test_job_that_is_gone_is_not_named(asking: Caller, mark: DctMark, fingerprints: FingerprintLog) -> None:
    job_id, pixels = f"job_{'0' * 26}", painted(6)
    fingerprints.add(Fingerprint(asking.owner, job_id, 0, payload_of(job_id, 0), looks_of(pixels)))

    body = verify(asking, file_of(mark.embed(pixels, payload_of(job_id, 0)))).json()

    assert (body["made_here"], body["matches"]) == (True, [])


def test_broken_manifest_is_no_fault_of_ours(asking: Caller, signer: ManifestSigner) -> None:
    signed = signer.sign(file_of(painted(7), "jpeg"), "image/jpeg", model="tiny")
    place = signed.index(b"c2pa.assertions")

    body = verify(asking, signed[:place] + bytes(15) + signed[place + 15 :]).json()

    assert body["manifest"]["state"] in {"unreadable", "invalid", "none"}
    assert body["made_here"] is False


@pytest.mark.parametrize("data", [b"", b"GIF89a nothing", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_is_no_picture_is_refused(asking: Caller, data: bytes) -> None:
    answer = verify(asking, data)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "image"


def test_body_must_be_one_file(asking: Caller) -> None:
    two = {"image": ("x", b"1"), "other": ("y", b"2")}

    assert asking.client.post("/verify", json={}, headers=asking.headers()).status_code == 415
    assert asking.client.post("/verify", files=two, headers=asking.headers()).status_code == 422


def test_original_with_a_manifest_is_kept_sealed(
    asking: Caller, signer: ManifestSigner, services: Services, tmp_path: Path
) -> None:
    pixels = painted(8)
    signed = signer.sign(file_of(pixels, "jpeg"), "image/jpeg", model="another")

    job = asking.generate_form({"prompt": "a red circle"}, {"init_image": signed}).json()
    plain = asking.generate_form({"prompt": "a red circle"}, {"init_image": file_of(pixels)}).json()

    stored = services.objects.get(original_key(job["id"], "init"))
    assert SEALER.open_bytes(stored) == signed
    assert job["params"]["init_image"]["original_type"] == "image/jpeg"
    assert services.objects.get(input_key(plain["id"], "init")).startswith(b"\x89PNG")
    assert plain["params"]["init_image"]["original"] is None


def test_recipe_of_a_job_makes_it_again(asking: Caller, worker: Worker) -> None:
    wanted = {
        "prompt": "a red circle",
        "negative_prompt": "blur",
        "seed": 7,
        "adapters": [{"name": "ink", "scale": 0.5}],
        "guidance_rescale": 0.2,
    }
    first = asking.generate(wanted).json()
    worker.succeed(first["id"])

    recipe = asking.get(f"/jobs/{first['id']}/recipe").json()
    again = asking.generate(recipe["request"]).json()

    assert again["params"] == first["params"]
    assert recipe["inputs"] == {}
    assert recipe["images"][0]["recipe"].startswith("a red circle")


def test_recipe_names_the_inputs_that_it_lacks(asking: Caller) -> None:
    body = {"prompt": "a red circle", "strength": 0.5}
    job = asking.generate_form(body, {"init_image": file_of(painted(9))}).json()

    recipe = asking.get(f"/jobs/{job['id']}/recipe").json()

    assert recipe["inputs"] == {"init_image": job["params"]["init_image"]["sha256"]}
    assert recipe["request"]["strength"] == 0.5
    assert recipe["images"] == []


def test_recipe_is_for_the_owner_alone(asking: Caller, make_caller: Callable[[], Caller]) -> None:
    job = asking.generate().json()

    assert make_caller().get(f"/jobs/{job['id']}/recipe").status_code == 404
