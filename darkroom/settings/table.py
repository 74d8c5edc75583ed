"""Every setting as one table: `docs/configuration.md` holds it, in the order of `ALL_SETTINGS`.

A test holds the page and the code equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from darkroom.settings.api import ApiSettings
from darkroom.settings.environment import Settings
from darkroom.settings.images import ImageCheckSettings, ProvenanceSettings
from darkroom.settings.jobs import CatalogueSettings, JobSettings, OwnersSettings, PriceSettings
from darkroom.settings.prompt_models import GuardSettings, PromptModelSettings, RewriterSettings
from darkroom.settings.safety import ReviewSettings, SafetySettings
from darkroom.settings.storage import ObjectStoreSettings, RedisSettings, SecretSettings
from darkroom.settings.telemetry import LogSettings, OtelSettings
from darkroom.settings.webhooks import DeliverySettings, WebhookSettings
from darkroom.settings.worker import WorkerSettings

ALL_SETTINGS: tuple[type[Settings], ...] = (
    RedisSettings,
    JobSettings,
    OwnersSettings,
    PriceSettings,
    SecretSettings,
    ObjectStoreSettings,
    CatalogueSettings,
    ApiSettings,
    WorkerSettings,
    SafetySettings,
    ImageCheckSettings,
    ProvenanceSettings,
    GuardSettings,
    RewriterSettings,
    PromptModelSettings,
    ReviewSettings,
    WebhookSettings,
    DeliverySettings,
    LogSettings,
    OtelSettings,
)


def settings_table() -> str:
    """Every setting as the Markdown that `docs/configuration.md` holds."""
    return "\n".join(line for cls in ALL_SETTINGS for line in _section(cls))


def _section(cls: type[Settings]) -> Iterator[str]:
    yield f"## {cls.__name__.removesuffix('Settings')}"
    yield ""
    yield (cls.__doc__ or "").strip().splitlines()[0]
    yield ""
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, info in cls.model_fields.items():
        yield f"| `{cls.prefix()}{name.upper()}` | {_shown(info.default)} | {info.description} |"
    yield ""


def _shown(default: Any) -> str:
    if default is None:
        return "unset"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
