"""Verify and replay, from the caller's side, against a whole service; and the certificate that it signs with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import Running, run_darkroom

SMALL = ("--size", "128x128", "--steps", "4", "--seed", "7")


def made(service: Running, folder: Path, name: str = "out.png", *options: str) -> Path:
    done = service.run("generate", "a red circle", *SMALL, *options, "-o", name, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / name


@pytest.mark.integration
@pytest.mark.parametrize("name", ["out.png", "out.jpeg", "out.webp"])
def test_what_the_service_made_is_known_by_mark_and_manifest(service: Running, tmp_path: Path, name: str) -> None:
    picture = made(service, tmp_path, name)

    done = service.run("verify", str(picture), "--json")

    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["manifest"]["state"] == "trusted"
    assert answer["watermark"]["found"] is True
    assert answer["matches"][0]["by"] == "watermark"
    assert answer["recipe"].startswith("a red circle")


@pytest.mark.integration
def test_saving_again_leaves_the_mark_alone(service: Running, tmp_path: Path) -> None:
    picture, copy = made(service, tmp_path), tmp_path / "copy.jpeg"
    Image.open(picture).save(copy, quality=75)

    done = service.run("verify", str(copy))

    assert done.returncode == 0
    assert "Made here:  yes" in done.stdout
    assert "Manifest:   none" in done.stdout
    assert "Your image: job_" in done.stdout


@pytest.mark.integration
def test_strangers_picture_is_nobodys(service: Running, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.png"
    Image.linear_gradient("L").convert("RGB").save(stranger)

    done = service.run("verify", str(stranger))

    assert done.returncode == 1
    assert "nothing says so" in done.stdout


@pytest.mark.integration
def test_replay_of_a_file_and_of_its_job_gives_the_same_pixels(service: Running, tmp_path: Path) -> None:
    picture = made(service, tmp_path)
    job_id = json.loads(service.run("verify", str(picture), "--json").stdout)["matches"][0]["job_id"]

    for what in (str(picture), job_id):
        done = service.run("replay", what, "--json")

        (image,) = json.loads(done.stdout)["images"]
        assert done.returncode == 0, done.stderr
        assert image["same"] is True
        assert image["psnr_db"] > 35  # two marks of different payloads


@pytest.mark.integration
def test_replay_from_an_image_asks_for_it(service: Running, tmp_path: Path) -> None:
    start = made(service, tmp_path, "start.png")
    picture = made(service, tmp_path, "next.png", "--init-image", str(start), "--strength", "0.5")

    without = service.run("replay", str(picture))
    done = service.run("replay", str(picture), "--init-image", str(start), "--json")

    assert "init_image" in without.stderr
    assert json.loads(done.stdout)["images"][0]["same"] is True
    manifest = json.loads(service.run("verify", str(picture), "--json").stdout)["manifest"]
    assert (manifest["actions"], manifest["ingredients"]) == (["c2pa.opened", "c2pa.edited"], 1)


def test_keys_c2pa_prints_the_settings(tmp_path: Path) -> None:
    done = run_darkroom("keys", "c2pa", "credentials", "--organisation", "Test studio", cwd=tmp_path)

    lines = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert set(lines) == {"DARKROOM_C2PA_CERT_FILE", "DARKROOM_C2PA_KEY_FILE"}
    assert all(Path(path).is_file() for path in lines.values())
