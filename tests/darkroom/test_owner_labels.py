"""Owners in metrics: by name where listed, by plan else."""

from __future__ import annotations

import pytest

from darkroom.errors import ConfigurationError
from darkroom.owner_labels import OwnerLabels
from darkroom.owners import Owners, OwnerSettings
from darkroom.settings import OwnersSettings


def test_listed_owners_have_names_and_others_their_plan() -> None:
    owners = Owners({"ada": OwnerSettings(plan="gold"), "bob": OwnerSettings(plan="gold")})
    labels = OwnerLabels(owners, OwnersSettings(metrics_owners="ada, eve").listed)

    assert [labels.of(owner) for owner in ("ada", "bob", "eve", "tom")] == ["ada", "plan:gold", "eve", "plan:default"]


def test_more_than_fifty_listed_owners_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_METRICS_OWNERS", ",".join(f"owner-{number}" for number in range(51)))

    with pytest.raises(ConfigurationError, match="DARKROOM_METRICS_OWNERS"):
        OwnersSettings.from_env()
