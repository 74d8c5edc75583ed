"""`darkroom models pull`, `list` and `verify`, against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.model_volume import volume
from darkroom.catalogue import load_catalogue
from tests.cli.model_volume.hub_server import COMMIT, FILES, MODEL, WEIGHTS, Hub, hub_server

UNET = "unet/diffusion_pytorch_model.safetensors"
TAKEN = {
    "README.md",
    "model_index.json",
    "unet/config.json",
    UNET,
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(volume.time, "sleep", lambda _seconds: None)
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def run(*words: str, folder: Path, said: str | None = None) -> Result:
    return CliRunner().invoke(app, ["models", *words, "--folder", str(folder)], input=said)


def pull(folder: Path, *words: str) -> Result:
    return run("pull", f"{MODEL}@{COMMIT}", "--yes", *words, folder=folder)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_comes_whole_without_pickles_and_other_formats(hub: Hub, tmp_path: Path) -> None:
    result = pull(tmp_path)

    placed = tmp_path / "tiny-diffusion"
    assert result.exit_code == 0, result.output
    assert files_of(placed) == TAKEN | {"SHA256SUMS", "source.json"}
    assert (placed / UNET).read_bytes() == WEIGHTS
    assert not [path for path, _, _ in hub.asked if path.endswith((".bin", ".onnx"))]
    origin = json.loads((placed / "source.json").read_text())
    assert (origin["origin"], origin["revision"], origin["licence"]) == (MODEL, COMMIT, "acme-open")


def test_the_digests_are_those_that_sha256sum_reads(hub: Hub, tmp_path: Path) -> None:
    pull(tmp_path)

    subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "tiny-diffusion", check=True
    )


def test_size_and_licence_are_shown_and_nothing_comes_without_a_yes(hub: Hub, tmp_path: Path) -> None:
    result = run("pull", f"{MODEL}@{COMMIT}", folder=tmp_path, said="n\n")

    assert (result.exit_code, "acme-open" in result.output, COMMIT[:30] in result.output) == (1, True, True)
    assert [path for path, _, _ in hub.asked] == [f"/api/models/{MODEL}/revision/{COMMIT}"]
    assert list(tmp_path.iterdir()) == []


def test_a_branch_is_pinned_to_the_commit_that_it_names_now(hub: Hub, tmp_path: Path) -> None:
    assert run("pull", MODEL, "--yes", folder=tmp_path).exit_code == 0

    assert {path.split("/")[4] for path, _, _ in hub.asked if "/resolve/" in path} == {COMMIT}


def test_a_line_that_drops_is_taken_up_where_it_dropped(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = [300_000, 200_000]

    assert pull(tmp_path).exit_code == 0
    assert (tmp_path / "tiny-diffusion" / UNET).read_bytes() == WEIGHTS
    starts = [int(asked[6:-1]) for path, asked, _ in hub.asked if asked and path == f"/lfs/{UNET}"]
    assert starts == sorted(starts)
    assert 0 < starts[0] <= 300_000 < starts[-1] <= 500_000


def test_a_second_try_goes_on_where_the_first_one_broke_off(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = [400_000] + [0] * (volume.TRIES - 1)
    assert pull(tmp_path).exit_code != 0
    listed = json.loads(run("list", "--json", folder=tmp_path).stdout)
    assert [(model["name"], model["complete"]) for model in listed] == [("tiny-diffusion", False)]

    hub.asked.clear()
    assert pull(tmp_path).exit_code == 0
    assert (tmp_path / "tiny-diffusion" / UNET).read_bytes() == WEIGHTS
    assert not [path for path, _, _ in hub.asked if path.endswith("unet/config.json")]
    assert next(asked for path, asked, _ in hub.asked if path == f"/lfs/{UNET}") is not None


def test_a_source_that_only_starts_anew_is_taken_from_the_start(hub: Hub, tmp_path: Path) -> None:
    hub.ranges, hub.break_after = False, [300_000]

    assert pull(tmp_path).exit_code == 0
    assert (tmp_path / "tiny-diffusion" / UNET).read_bytes() == WEIGHTS


@pytest.mark.parametrize("path", [UNET, "unet/config.json"])
def test_a_file_that_is_not_what_its_digest_says_is_refused(hub: Hub, tmp_path: Path, path: str) -> None:
    hub.damaged.add(path)

    result = pull(tmp_path)
    assert (result.exit_code != 0, "damaged" in str(result.exception)) == (True, True)
    assert not (tmp_path / "tiny-diffusion").exists()


def test_the_token_goes_to_the_endpoint(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_of_the_tests"
    refused = pull(tmp_path)
    assert (refused.exit_code != 0, "HF_TOKEN" in str(refused.exception)) == (True, True)

    monkeypatch.setenv("HF_TOKEN", hub.token)
    accepted = pull(tmp_path)
    assert (accepted.exit_code, hub.token in accepted.output) == (0, False)


def test_a_variant_takes_the_place_of_the_plain_weights(hub: Hub, tmp_path: Path) -> None:
    assert pull(tmp_path, "--variant", "fp16").exit_code == 0

    placed = tmp_path / "tiny-diffusion"
    assert (placed / UNET).read_bytes() == FILES["unet/diffusion_pytorch_model.fp16.safetensors"]
    assert files_of(placed) == TAKEN | {"SHA256SUMS", "source.json"}


def test_a_path_that_leads_elsewhere_is_not_written(hub: Hub, tmp_path: Path) -> None:
    hub.files["../outside.json"] = hub.files["/etc/outside.json"] = b"{}"

    assert pull(tmp_path / "volume").exit_code == 0
    assert not list(tmp_path.rglob("outside.json"))


@pytest.mark.parametrize(
    ("remove", "named"),
    [
        (("model_index.json",), "model_index.json"),
        ((UNET, "unet/diffusion_pytorch_model.fp16.safetensors"), "pickles"),
    ],
)
def test_what_darkroom_cannot_load_is_refused_at_once(
    hub: Hub, tmp_path: Path, remove: tuple[str, ...], named: str
) -> None:
    for path in remove:
        del hub.files[path]

    result = pull(tmp_path)
    assert (result.exit_code != 0, named in str(result.exception)) == (True, True)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused(hub: Hub, tmp_path: Path) -> None:
    assert pull(tmp_path).exit_code == 0
    assert "there already" in str(pull(tmp_path).exception)
    assert pull(tmp_path, "--name", "second").exit_code == 0
    assert "small letters" in str(pull(tmp_path, "--name", "../third").exception)


def test_verify_finds_what_is_missing_changed_and_added(hub: Hub, tmp_path: Path) -> None:
    pull(tmp_path)
    assert run("verify", folder=tmp_path).output == "tiny-diffusion: as it came\n"

    placed = tmp_path / "tiny-diffusion"
    (placed / UNET).write_bytes(WEIGHTS[:-1] + b"!")
    (placed / "README.md").unlink()
    (placed / "more.json").write_text("{}")
    result = run("verify", "tiny-diffusion", folder=tmp_path)
    assert result.exit_code == 1
    for line in (f"changed: {UNET}", "missing: README.md", "added: more.json"):
        assert line in result.output


def test_a_folder_and_an_archive_can_be_brought_along(tmp_path: Path) -> None:
    origin = tmp_path / "Brought"
    for path, data in FILES.items():
        (origin / path).parent.mkdir(parents=True, exist_ok=True)
        (origin / path).write_bytes(data)
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        archive.add(origin, "inside")

    for source, name in ((origin, "brought"), (tmp_path / "packed.tar.gz", "packed")):
        assert run("pull", str(source), "--yes", folder=tmp_path / "models").exit_code == 0
        placed = tmp_path / "models" / name
        assert hashlib.sha256((placed / UNET).read_bytes()).digest() == hashlib.sha256(WEIGHTS).digest()
    assert run("verify", folder=tmp_path / "models").exit_code == 0


def test_what_is_printed_is_an_entry_that_the_catalogue_takes(hub: Hub, tmp_path: Path) -> None:
    entry = pull(tmp_path).stdout
    (tmp_path / "catalogue.toml").write_text(entry)

    model = load_catalogue(tmp_path / "catalogue.toml").models["tiny-diffusion"]
    assert (model.family, model.licence, model.native_sizes) == ("sdxl", "acme-open", ((256, 256),))
    assert tomllib.loads(entry)["models"]["tiny-diffusion"]["source"]["folder"] == str(tmp_path / "tiny-diffusion")
