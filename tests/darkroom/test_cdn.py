"""Links by a content delivery network: only its edge's own check lets them pass."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError, ObjectNotFound
from darkroom.object_store import cdn as cdn_module
from darkroom.object_store import make_object_store
from darkroom.object_store.cdn import CdnLinks
from darkroom.settings import ObjectStoreSettings

NOW = 1_000.0
BASE = "https://images.example.org"
SECRET = "0123456789abcdef0123456789abcdef"
KEY = "outputs/job_01/1/0.png"
EDGE = Path(__file__).parents[2] / "deploy" / "cdn" / "edge.js"


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> CdnLinks:
    monkeypatch.setattr(cdn_module, "unix_time", lambda: NOW)
    return CdnLinks(f"{BASE}/", SECRET.encode())


def path_of(links: CdnLinks, key: str = KEY) -> str:
    url = links.url(key, expires_in=60)
    assert url is not None
    assert url.startswith(f"{BASE}/1060.")
    assert url.endswith(f"/{key}")
    return url.removeprefix(BASE)


def changed(path: str) -> dict[str, str]:
    """The path as a stranger would like it."""
    expires, _, rest = path.removeprefix("/").partition(".")
    signature, _, key = rest.partition("/")
    return {
        "another image": f"/{expires}.{signature}/outputs/job_01/1/1.png",
        "a later end": f"/{int(expires) + 1}.{signature}/{key}",
        "another signature": f"/{expires}.{'A' * 43}/{key}",
        "a short signature": f"/{expires}.{signature[:42]}/{key}",
        "no signature": f"/{key}",
        "a way up": f"/{expires}.{signature}/outputs/../inputs/job_01/init.png",
        "nothing": "/",
    }


def test_a_link_fetches_its_image_until_it_ends(links: CdnLinks) -> None:
    path = path_of(links)

    assert links.verify(path, NOW + 59.9) == KEY
    assert links.verify(path, NOW + 60) is None


def test_a_changed_link_fetches_nothing(links: CdnLinks) -> None:
    assert {
        name: links.verify(path, NOW) for name, path in changed(path_of(links)).items() if links.verify(path, NOW)
    } == {}


def test_another_secret_fetches_nothing(links: CdnLinks) -> None:
    assert CdnLinks(BASE, b"another secret of enough characters").verify(path_of(links), NOW) is None


@pytest.mark.parametrize("key", ["review/job_01/1/0.png", "inputs/job_01/init.png"])
def test_what_is_not_released_has_no_link(links: CdnLinks, key: str) -> None:
    assert links.url(key, expires_in=60) is None


def test_an_illegal_key_has_no_link(links: CdnLinks) -> None:
    with pytest.raises(ObjectNotFound):
        links.url("outputs/../inputs/a.png", expires_in=60)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_edge_says_the_same(links: CdnLinks, tmp_path: Path) -> None:
    (tmp_path / "edge.mjs").write_text(EDGE.read_text())
    path = path_of(links)
    asked = [(path, NOW + 59), (path, NOW + 60), *((other, NOW) for other in changed(path).values())]
    program = f"""
        import edge from {json.dumps(str(tmp_path / "edge.mjs"))};
        const asked = {json.dumps(asked)}, secrets = ['a newer word of the same file, say', {json.dumps(SECRET)}];
        console.log(JSON.stringify(asked.map(([path, now]) => edge.keyOf(path, now, secrets))));
    """

    done = subprocess.run(
        ["node", "--input-type=module", "-e", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert json.loads(done.stdout) == [links.verify(path, now) or "" for path, now in asked]


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    (tmp_path / "cdn").write_text(f"{SECRET}\n")
    return tmp_path / "cdn"


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_both_stores_link_to_the_network_for_released_images_alone(
    kind: str, tmp_path: Path, secret_file: Path, links: CdnLinks
) -> None:
    store = make_object_store(
        ObjectStoreSettings(
            object_store=kind,
            object_store_folder=tmp_path / "objects",
            link_secret="secret of the links",
            s3_access_key_id="id",
            s3_secret_access_key="secret",
            s3_endpoint_url="http://127.0.0.1:9",
            cdn_url=BASE,
            cdn_secret_file=secret_file,
        )
    )

    assert store.url(KEY, expires_in=60, filename="x.png") == f"{BASE}{path_of(links)}"
    if kind == "local":
        assert store.url("review/job_01/1/0.png", expires_in=60, filename="x.png").startswith("http://127.0.0.1:8000/")


@pytest.mark.parametrize("text", ["", "short", "é" * 40])
def test_a_secret_that_is_none_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "cdn").write_text(text)

    with pytest.raises(ConfigurationError, match="DARKROOM_CDN_SECRET_FILE") as caught:
        CdnLinks.from_settings(ObjectStoreSettings(cdn_url=BASE, cdn_secret_file=tmp_path / "cdn"))
    assert not text or text not in str(caught.value)


def test_url_and_secret_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_CDN_URL", BASE)

    with pytest.raises(ConfigurationError, match="DARKROOM_CDN_SECRET_FILE"):
        ObjectStoreSettings.from_env()
