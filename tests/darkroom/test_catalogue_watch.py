"""A catalogue's file that changes while the process runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.catalogue import load_catalogue
from darkroom.catalogue_watch import CatalogueWatch
from darkroom.errors import ConfigurationError
from tests.darkroom.factories import make_catalogue

MODEL = """
[models.{name}]
source = {{ folder = "weights" }}
licence = "MIT"
native_sizes = [[64, 64]]
"""
ALIAS = """
[aliases.best]
variants = [{ model = "one", weight = 2 }, { model = "two" }]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model_index.json").write_text("{}")
    path = tmp_path / "catalogue.toml"
    path.write_text(MODEL.format(name="one"))
    return path


def test_a_changed_file_counts_once_and_an_equal_one_does_not(path: Path) -> None:
    watch = CatalogueWatch.read(path)
    assert not watch.look()
    path.write_text('default = "best"\n' + MODEL.format(name="one") + MODEL.format(name="two") + ALIAS)

    assert [watch.look(), watch.look()] == [True, False]
    assert (set(watch.now.models), watch.now.default, watch.now.default_model.name) == ({"one", "two"}, "best", "one")
    path.write_text(path.read_text() + "# a comment\n")
    assert not watch.look()


def test_a_broken_or_missing_file_keeps_the_old_one_until_it_is_mended(path: Path) -> None:
    watch = CatalogueWatch.read(path)
    before = watch.now
    path.write_text("[models.one")
    assert not watch.look()
    assert watch.now is before
    path.unlink()
    assert not watch.look()
    path.write_text('default = "two"\n' + MODEL.format(name="one") + MODEL.format(name="two"))

    assert watch.look()
    assert watch.now.default == "two"


def test_what_is_not_accepted_is_asked_about_again(path: Path) -> None:
    watch = CatalogueWatch.read(path)
    path.write_text('default = "one"\n' + MODEL.format(name="one") + MODEL.format(name="two"))

    answers = iter([False, True])
    assert [watch.look(lambda _before, _after: next(answers)) for _ in range(2)] == [False, True]


def test_a_watch_without_a_file_stays_as_it_is() -> None:
    assert not CatalogueWatch(make_catalogue()).look()


@pytest.mark.parametrize(
    ("head", "tail", "said"),
    [
        ("", ALIAS.replace('"two"', '"three"'), "three is no model of this catalogue"),
        ("", ALIAS.replace("aliases.best", "aliases.one"), "a model has this name already"),
        ("", "[aliases.best]\nvariants = []\n", "aliases.best: variants"),
        ('withdrawn = ["one"]\n', "", "one is withdrawn"),
        ('withdrawn = "one"\n', "", "`withdrawn` must be a list"),
    ],
)
def test_an_alias_or_a_withdrawal_that_can_not_be_is_named(path: Path, head: str, tail: str, said: str) -> None:
    path.write_text('default = "one"\n' + head + MODEL.format(name="one") + MODEL.format(name="two") + tail)

    with pytest.raises(ConfigurationError, match=said):
        load_catalogue(path)
