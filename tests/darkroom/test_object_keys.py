"""Which names a stored file may have."""

from __future__ import annotations

import pytest

from darkroom.errors import ObjectNotFound
from darkroom.object_store import check_key, output_key, output_prefix
from darkroom.object_store.keys import check_prefix

HOSTILE = [
    "", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "a//b", "a/", "./a", "a/./b", ".hidden", "a/.partial-1",
    "a\\b", "C:\\x", "a\x00b", "a\nb", "a b", "%2e%2e/x", "a%2fb", "é", "\u2024\u2024/x", "~root", "-rf", "a?b", "a#b",
    "x" * 513, "a/" * 300 + "b",
]  # fmt: skip


def test_output_key_lies_under_its_attempt() -> None:
    assert output_key("job_1", 2, 3, ending="png") == "outputs/job_1/2/3.png"
    assert output_key("job_1", 2, 3, ending="png").startswith(output_prefix("job_1", 2))


@pytest.mark.parametrize("key", ["a", "outputs/job_1/2/3.png", "a.b/c-d_e.webp", "_x"])
def test_ordinary_key_is_legal(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_key_does_not_exist(key: str) -> None:
    with pytest.raises(ObjectNotFound):
        check_key(key)


@pytest.mark.parametrize("prefix", ["", "/", "outputs", "../", "a/../", "outputs//", "."])
def test_prefix_must_be_a_folder_inside(prefix: str) -> None:
    with pytest.raises(ValueError, match="folder"):
        check_prefix(prefix)
