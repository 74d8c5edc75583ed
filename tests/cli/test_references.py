from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from darkroom.errors import ConfigurationError
from safety.image.references import Reference, load_references
from training.painter import painted_pair


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["references", *map(str, words)])
    if done.exception:
        raise done.exception
    return done.output


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    painted_pair(1)[0].save(tmp_path / "logo.png")
    return tmp_path / "logo.png"


def test_picture_is_added_listed_and_removed(picture: Path, tmp_path: Path) -> None:
    where = ("--set", tmp_path / "set.npz")

    run("add", picture, *where)
    run("add", picture, *where, "--owner", "acme")
    listed = run("list", *where)
    run("remove", "logo.png", *where)

    assert ("everybody" in listed, "acme" in listed) == (True, True)
    assert load_references(tmp_path / "set.npz").entries == (Reference("logo.png", "acme"),)


def test_the_picture_itself_is_not_kept(picture: Path, tmp_path: Path) -> None:
    run("add", picture, "--set", tmp_path / "set.npz")

    assert load_references(tmp_path / "set.npz").vectors.shape == (1, 128)
    assert (tmp_path / "set.npz").stat().st_size < 4000


def test_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")

    with pytest.raises(ConfigurationError, match="no image"):
        run("add", tmp_path / "notes.txt", "--set", tmp_path / "set.npz")

    assert not (tmp_path / "set.npz").exists()
