"""Settings: read from the environment, frozen, documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from darkroom.errors import ConfigurationError
from darkroom.jobs import Tier
from darkroom.settings import (
    ALL_SETTINGS,
    ApiSettings,
    DeliverySettings,
    ObjectStoreSettings,
    WebhookSettings,
    WorkerSettings,
    settings_table,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("cls", ALL_SETTINGS)
def test_every_class_is_complete_without_an_environment(cls: type) -> None:
    assert cls.from_env() == cls()


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_PORT", "9001")
    monkeypatch.setenv("DARKROOM_HOST", "")

    settings = ApiSettings.from_env()

    assert (settings.port, settings.host) == (9001, "127.0.0.1")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        ApiSettings().port = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "seventeen"), ("MAX_BODY_BYTES", "-4"), ("DOCS", "perhaps")],
)
def test_bad_value_is_one_sentence_that_names_the_variable_only(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"DARKROOM_{name}", value)

    with pytest.raises(ConfigurationError, match=f"^DARKROOM_{name}: ") as caught:
        ApiSettings.from_env()

    assert value not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_short_link_secret_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_LINK_SECRET", "tooshort")

    with pytest.raises(ConfigurationError, match="16 characters") as caught:
        ObjectStoreSettings.from_env()

    assert "tooshort" not in str(caught.value)


def test_access_key_needs_its_secret() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        ObjectStoreSettings(s3_access_key_id="id")


def test_secrets_are_not_in_the_repr() -> None:
    settings = ObjectStoreSettings(
        link_secret="a secret of links", s3_access_key_id="id", s3_secret_access_key="of the bucket"
    )

    assert "a secret of links" not in repr(settings)
    assert "of the bucket" not in repr(settings)


def test_worker_tiers_are_read_in_order() -> None:
    assert WorkerSettings(worker_tiers="quality, preview").tiers == (Tier.QUALITY, Tier.PREVIEW)


@pytest.mark.parametrize("tiers", ["", "standard,standard", "premium", "standard,"])
def test_unknown_empty_or_repeated_tier_is_refused(tiers: str) -> None:
    with pytest.raises(ValidationError, match="WORKER_TIERS"):
        WorkerSettings(worker_tiers=tiers)


def test_one_lost_heartbeat_must_not_cost_the_lease() -> None:
    with pytest.raises(ValidationError, match="at most half"):
        WorkerSettings(heartbeat_seconds=6, lease_seconds=10)


def test_no_variable_is_used_twice() -> None:
    names = [cls.prefix() + name for cls in ALL_SETTINGS for name in cls.model_fields]

    assert len(names) == len(set(names))


def test_every_setting_is_described() -> None:
    assert [name for cls in ALL_SETTINGS for name, info in cls.model_fields.items() if not info.description] == []


def test_configuration_page_equals_the_code() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    assert settings_table().strip() in page
    assert page.count("| `DARKROOM_") == sum(len(cls.model_fields) for cls in ALL_SETTINGS)


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (WebhookSettings, "WEBHOOK_PORTS", "443,many"),
        (WebhookSettings, "WEBHOOK_PORTS", "0"),
        (WebhookSettings, "WEBHOOK_PORTS", "9-1"),
        (WebhookSettings, "WEBHOOK_NETWORKS", "10.0.0.1/8"),
        (DeliverySettings, "DELIVERY_RETRY_SECONDS", "5,soon"),
        (DeliverySettings, "DELIVERY_RETRY_SECONDS", "5,-1"),
    ],
)
def test_lists_of_the_webhooks_are_read_at_the_start(
    monkeypatch: pytest.MonkeyPatch, cls: type, name: str, value: str
) -> None:
    monkeypatch.setenv(f"DARKROOM_{name}", value)

    with pytest.raises(ConfigurationError, match=f"^DARKROOM_{name} must "):
        cls.from_env()


def test_webhook_ports_are_numbers_and_spans() -> None:
    assert WebhookSettings(webhook_ports="443, 9000-9002").ports == {443, 9000, 9001, 9002}
