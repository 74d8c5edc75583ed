"""A folder of pictures: what is read from it, and what is said when something is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from darkroom.errors import ConfigurationError
from tests.training.lora.tiny import COLOURS, save_pictures
from training.lora.pictures import StyledPictures, open_folder


def test_captions_lie_beside_the_pictures(tmp_path: Path) -> None:
    pairs = list(open_folder(save_pictures(tmp_path / "pictures")).read(16))

    assert [caption for _, caption in pairs] == ["plain blue", "plain green", "plain red"]
    assert all(image.size == (16, 16) for image, _ in pairs)
    assert pairs[2][0].getpixel((8, 8)) == COLOURS["red"]


def test_a_metadata_file_may_hold_the_captions(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "pictures")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "red.png", "text": "a  red wall"}) + "\n\n")

    assert [caption for _, caption in open_folder(folder).read(8)] == ["a red wall"]


def test_a_trigger_begins_every_caption(tmp_path: Path) -> None:
    pictures = open_folder(save_pictures(tmp_path / "pictures"), trigger="wallish")

    assert next(caption for _, caption in pictures.read(8)) == "wallish, plain blue"


def test_painted_pictures_in_a_style_are_the_same_every_time() -> None:
    pictures = StyledPictures("neon", 3, seed=5)

    first, again = list(pictures.read(32)), list(pictures.read(32))

    assert len(pictures) == len(first) == 3
    assert [(image.tobytes(), words) for image, words in first] == [(image.tobytes(), words) for image, words in again]


def _gone(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _empty(folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.unlink()


def _listing(line: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "metadata.jsonl").write_text(line) and None


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (_gone, "is not a folder"),
    (_empty, "holds no pictures"),
    (lambda folder: (folder / "red.txt").unlink(), r"has no caption: red\.txt is missing"),
    (lambda folder: (folder / "red.txt").write_text(" \n"), r"red\.txt is empty"),
    (lambda folder: (folder / "red.txt").write_bytes(b"\xff\xfe"), "is not UTF-8"),
    (_listing("{"), "line 1: must be"),
    (_listing("[]"), "line 1: must be"),
    (_listing('{"file_name": "red.png"}'), "line 1: must be"),
    (_listing('{"file_name": "red.png", "text": ""}'), "not empty"),
    (_listing('{"file_name": "../other.png", "text": "x"}'), "is no file of this folder"),
]


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS)
def test_a_bad_folder_is_told_in_a_sentence(spoil: Callable[[Path], object], sentence: str, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "pictures")
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    spoil(folder)

    with pytest.raises(ConfigurationError, match=sentence):
        open_folder(folder)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "pictures")
    (folder / "green.png").write_bytes(b"no picture")

    with pytest.raises(ConfigurationError, match=r"green\.png can't be read"):
        list(open_folder(folder).read(8))
