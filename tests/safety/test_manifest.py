from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from PIL import Image

from darkroom.errors import ConfigurationError
from darkroom.settings import ProvenanceSettings
from safety.provenance.credentials import CA_FILE, Credentials, make_credentials, trust_anchors
from safety.provenance.encode import COMPOSITE_WITH_TRAINED, TRAINED_ALGORITHMIC_MEDIA, encode_image
from safety.provenance.manifest import Ingredient, ManifestSigner
from safety.provenance.manifest_settings import QUIET
from tests.safety.test_encode import make_pixels, make_recipe, read_text

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("c2pa")
    make_credentials(made, organisation="Test studio")
    return made


def settings_of(folder: Path) -> ProvenanceSettings:
    return ProvenanceSettings(c2pa_cert_file=folder / "c2pa-cert.pem", c2pa_key_file=folder / "c2pa-key.pem")


def make_signer(folder: Path) -> ManifestSigner:
    credentials = Credentials.from_settings(settings_of(folder))
    assert credentials is not None
    return ManifestSigner(credentials)


def make_file(output_format: str) -> bytes:
    return encode_image(make_pixels(), output_format=output_format, recipe=make_recipe())


def read(data: bytes, content_type: str, anchors: bytes) -> tuple[str, Mapping[str, Any]]:
    trust = {"trust": {"trust_anchors": anchors.decode()}, "verify": {"verify_trust": True}}
    context = c2pa.Context.from_dict({**QUIET, **trust} if anchors else dict(QUIET))
    with c2pa.Reader(content_type, BytesIO(data), context=context) as reader:
        return str(reader.get_validation_state()), json.loads(reader.json())


@pytest.mark.parametrize("output_format", FORMATS)
def test_reader_with_our_authority_trusts_what_we_sign(folder: Path, output_format: str) -> None:
    signed = make_signer(folder).sign(make_file(output_format), FORMATS[output_format], model="tiny")

    state, store = read(signed, FORMATS[output_format], trust_anchors(settings_of(folder)))

    assert state == "Trusted"
    actions = store["manifests"][store["active_manifest"]]["assertions"][0]["data"]["actions"]
    assert [(each["action"], each["digitalSourceType"]) for each in actions] == [
        ("c2pa.created", TRAINED_ALGORITHMIC_MEDIA)
    ]
    assert actions[0]["softwareAgent"]["name"] == "tiny"


@pytest.mark.parametrize("output_format", FORMATS)
def test_recipe_and_pixels_are_as_they_were(folder: Path, output_format: str) -> None:
    data = make_file(output_format)

    signed = make_signer(folder).sign(data, FORMATS[output_format], model="tiny")

    assert read_text(signed) == read_text(data)
    assert np.array_equal(np.asarray(Image.open(BytesIO(signed))), np.asarray(Image.open(BytesIO(data))))


@pytest.mark.parametrize("output_format", FORMATS)
def test_changed_file_is_invalid(folder: Path, output_format: str) -> None:
    signed = bytearray(make_signer(folder).sign(make_file(output_format), FORMATS[output_format], model="tiny"))
    signed[-20] ^= 1

    state, _ = read(bytes(signed), FORMATS[output_format], trust_anchors(settings_of(folder)))

    assert state == "Invalid"


def test_reader_without_our_authority_says_only_that_it_is_whole(folder: Path) -> None:
    signed = make_signer(folder).sign(make_file("png"), "image/png", model="tiny")

    state, _ = read(signed, "image/png", b"")

    assert state == "Valid"


def test_manifest_holds_no_prompt_and_no_thumbnail(folder: Path) -> None:
    bare = encode_image(make_pixels(), output_format="png", recipe=make_recipe("kanarienvogel"))

    signed = make_signer(folder).sign(bare, "image/png", model="tiny")

    _, store = read(signed, "image/png", b"")
    assert "kanarienvogel" not in json.dumps(store)
    assert "thumbnail" not in json.dumps(store)
    assert len(signed) - len(bare) < 5_000


def test_input_with_a_manifest_is_kept_as_ingredient(folder: Path) -> None:
    signer = make_signer(folder)
    given = signer.sign(make_file("jpeg"), "image/jpeg", model="another")

    signed = signer.sign(
        make_file("png"), "image/png", model="tiny", ingredients=[Ingredient("init", "image/jpeg", given)]
    )

    state, store = read(signed, "image/png", trust_anchors(settings_of(folder)))
    active = store["manifests"][store["active_manifest"]]
    actions = active["assertions"][0]["data"]["actions"]
    assert state == "Trusted"
    assert [each["action"] for each in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"] == COMPOSITE_WITH_TRAINED
    assert [(each["relationship"], each["active_manifest"]) for each in active["ingredients"]] == [
        ("parentOf", next(label for label in store["manifests"] if label != store["active_manifest"]))
    ]


def test_input_and_mask_without_manifests_are_ingredients_too(folder: Path) -> None:
    inputs = [Ingredient(name, "image/png", make_file("png")) for name in ("init", "mask")]

    signed = make_signer(folder).sign(make_file("png"), "image/png", model="tiny", ingredients=inputs)

    state, store = read(signed, "image/png", trust_anchors(settings_of(folder)))
    active = store["manifests"][store["active_manifest"]]
    assert state == "Trusted"
    assert [each["relationship"] for each in active["ingredients"]] == ["parentOf", "inputTo"]


def test_new_certificate_comes_from_the_same_authority(tmp_path: Path) -> None:
    make_credentials(tmp_path, organisation="Test studio")
    authority = (tmp_path / CA_FILE).read_bytes()
    old = make_signer(tmp_path).sign(make_file("png"), "image/png", model="tiny")

    make_credentials(tmp_path, organisation="Test studio")

    assert (tmp_path / CA_FILE).read_bytes() == authority
    assert read(old, "image/png", trust_anchors(settings_of(tmp_path)))[0] == "Trusted"
    assert read(make_signer(tmp_path).sign(make_file("png"), "image/png", model="tiny"), "image/png", authority)[0] == (
        "Trusted"
    )


def test_keys_are_for_this_user_alone(folder: Path) -> None:
    assert {path.name for path in folder.iterdir() if path.stat().st_mode & 0o077 == 0} == {
        "c2pa-key.pem",
        "c2pa-ca-key.pem",
    }


def test_images_are_not_signed_without_a_certificate() -> None:
    assert Credentials.from_settings(ProvenanceSettings()) is None
    assert trust_anchors(ProvenanceSettings()) == b""


def test_wrong_files_are_refused(folder: Path, tmp_path: Path) -> None:
    make_credentials(tmp_path, organisation="Another")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    cert, key = folder / "c2pa-cert.pem", folder / "c2pa-key.pem"
    wrong = {
        "can't be read": (tmp_path / "missing.pem", key),
        "holds no certificate": (nothing, key),
        "holds no private key": (cert, nothing),
        "not that of": (cert, tmp_path / "c2pa-key.pem"),
    }

    for message, (cert_file, key_file) in wrong.items():
        with pytest.raises(ConfigurationError, match=message):
            Credentials.from_settings(ProvenanceSettings(c2pa_cert_file=cert_file, c2pa_key_file=key_file))


def test_certificate_that_may_not_sign_manifests_is_refused_at_the_start(folder: Path) -> None:
    authority = ProvenanceSettings(c2pa_cert_file=folder / CA_FILE, c2pa_key_file=folder / "c2pa-ca-key.pem")
    credentials = Credentials.from_settings(authority)
    assert credentials is not None

    with pytest.raises(ConfigurationError, match="can't sign manifests"):
        ManifestSigner(credentials)
