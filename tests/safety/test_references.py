from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from darkroom.errors import ConfigurationError
from safety.image.references import Reference, References, load_references, save_references

CLIP = "a" * 64
LOGO, OWN = Reference("logo"), Reference("logo", owner="acme")


def some() -> References:
    vectors = np.eye(2, 4, dtype=np.float32)
    return References.empty(CLIP, dimensions=4).with_more([LOGO, OWN], vectors, [7, None])


def test_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "set.npz"

    save_references(path, some())
    found = load_references(path)

    assert (found.embedder, found.entries) == (CLIP, (LOGO, OWN))
    assert found.vectors.tolist() == some().vectors.tolist()
    assert (found.looks.tolist(), found.has_looks.tolist()) == ([7, 0], [True, False])
    assert [file.name for file in path.parent.iterdir()] == ["set.npz"]


def test_empty_set_can_be_written_and_read(tmp_path: Path) -> None:
    save_references(tmp_path / "set.npz", References.empty(CLIP, dimensions=4))

    assert len(load_references(tmp_path / "set.npz")) == 0


def test_a_name_can_stand_once_for_each_owner() -> None:
    with pytest.raises(ConfigurationError, match="already"):
        some().with_more([OWN], np.ones((1, 4), np.float32), [1])


def test_only_the_named_one_is_taken_out() -> None:
    left = some().without(LOGO)

    assert (left.entries, left.vectors.tolist(), left.has_looks.tolist()) == ((OWN,), [[0, 1, 0, 0]], [False])
    with pytest.raises(ConfigurationError, match="no reference"):
        left.without(LOGO)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY"])
def test_file_that_holds_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match="can't be read"):
        load_references(path)


def test_set_with_a_vector_that_is_no_number_is_refused(tmp_path: Path) -> None:
    vectors = np.full((1, 4), np.nan, np.float32)
    save_references(tmp_path / "set.npz", References.empty(CLIP, dimensions=4).with_more([LOGO], vectors, [1]))

    with pytest.raises(ConfigurationError, match="damaged"):
        load_references(tmp_path / "set.npz")
