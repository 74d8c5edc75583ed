"""What a process tells about itself: its log and its traces.

Where a process serves its metrics is said with the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from darkroom.errors import ConfigurationError
from darkroom.settings.environment import PREFIX, Settings


class LogSettings(Settings):
    """What is written to stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")


class OtelSettings(Settings):
    """Where traces go; needs the packages of `darkroom[otel]`."""

    model_config = SettingsConfigDict(env_prefix=f"{PREFIX}OTEL_")

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OTLP over HTTP, like `http://collector:4318/v1/traces`. Unset: no traces.",
    )
    headers_file: Path | None = Field(
        None, description="Headers that are sent there, one `name: value` a line; for a collector that wants a key."
    )
    ca_file: Path | None = Field(
        None, description="Certificates (PEM) that sign the collector's; unset means the system's own."
    )
    ratio: float = Field(1.0, ge=0, le=1, description="Part of all traces that is kept, chosen by the trace's id.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for the collector.")

    def headers(self) -> dict[str, str]:
        """The headers by name.

        Raises:
            ConfigurationError: the file can't be read.
        """
        if self.headers_file is None:
            return {}
        try:
            lines = self.headers_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError("DARKROOM_OTEL_HEADERS_FILE can't be read") from None
        pairs = [line.partition(":") for line in lines if line.strip()]
        if not all(colon and name.strip() for name, colon, _ in pairs):
            raise ConfigurationError("DARKROOM_OTEL_HEADERS_FILE must hold lines like `name: value`")
        return {name.strip(): value.strip() for name, _, value in pairs}
