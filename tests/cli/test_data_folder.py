from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli.data_folder import DataFolder, Session
from darkroom.errors import ConfigurationError

SESSION = Session(url="http://127.0.0.1:1", api_key="dk_x", redis_url="redis://127.0.0.1:2/0", pids={"api": 3})


def prepared(root: Path) -> DataFolder:
    folder = DataFolder(root)
    folder.prepare()
    return folder


def test_a_folder_that_cannot_be_written_is_a_sentence_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"file/data can't be written .* Choose another with --data"):
        prepared(tmp_path / "file" / "data")


def test_a_disk_that_is_nearly_full_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has \d+ MB left, and Darkroom wants at least 10000000000 MB"):
        DataFolder(tmp_path).prepare(needed_bytes=10**16)


def test_only_one_may_hold_a_folder(tmp_path: Path) -> None:
    folder = prepared(tmp_path)

    with folder.held():
        folder.write_session(SESSION)

        with pytest.raises(ConfigurationError, match=r"already runs on .* at http://127.0.0.1:1"), folder.held():
            pytest.fail("held twice")

    with folder.held():
        assert folder.session() is None


def test_secrets_stay_the_same_and_are_private(tmp_path: Path) -> None:
    first = prepared(tmp_path).secret("links")

    assert prepared(tmp_path).secret("links") == first
    assert len(first) >= 32
    assert stat.S_IMODE((tmp_path / "links.secret").stat().st_mode) == 0o600


def test_the_session_is_found_again_and_private(tmp_path: Path) -> None:
    prepared(tmp_path).write_session(SESSION)

    assert DataFolder(tmp_path).session() == SESSION
    assert stat.S_IMODE((tmp_path / "session.json").stat().st_mode) == 0o600


def test_a_session_file_that_is_not_one_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text('{"url": 1}')

    assert DataFolder(tmp_path).session() is None


def test_a_session_never_shows_its_secrets(tmp_path: Path) -> None:
    assert "dk_x" not in repr(SESSION)
