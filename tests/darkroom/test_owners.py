"""Owners' settings: the file, its defaults, and what it may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError
from darkroom.owners import Owners, OwnerSettings
from darkroom.settings import OwnersSettings


def owners_of(folder: Path, text: str) -> Owners:
    path = folder / "owners.toml"
    path.write_text(text, encoding="utf-8")
    return Owners.from_settings(OwnersSettings(owners_file=path))


def test_without_a_file_everybody_has_the_defaults() -> None:
    assert Owners.from_settings(OwnersSettings()).of("ada") == OwnerSettings()


def test_a_table_adds_to_the_default_table(tmp_path: Path) -> None:
    owners = owners_of(tmp_path, "[default]\nmax_queued = 5\nweight = 2\n[ada]\nweight = 4\n")

    assert owners.of("ada") == OwnerSettings(weight=4, max_queued=5)
    assert owners.of("bob") == OwnerSettings(weight=2, max_queued=5)
    assert owners.names() == ["ada"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ada]\nweight = 0", "ada.weight"),
        ("[ada]\nwaight = 1", "ada.waight"),
        ("[default]\nmax_running = -1", "default.max_running"),
        ("ada = 1", "ada"),
        ("default = 1", "default"),
        ('[ada]\nendpoints = ["https://example.org"]', "POST /webhooks"),
        ("[ada]\nbudget_per_day = 0", "ada.budget_per_day"),
        ("[ada", "owners file .* is not valid TOML"),
    ],
)
def test_a_wrong_file_stops_the_start_and_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        owners_of(tmp_path, text)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        Owners.from_file(tmp_path / "none.toml")
