"""The process that answers HTTP: where it listens, and what a request may take of it.

What a request may ask for is the catalogue's matter.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from pydantic import Field, model_validator

from darkroom.settings.environment import Settings


class ApiSettings(Settings):
    """The HTTP side."""

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port the API listens on; 0 takes a free one.")
    max_body_bytes: int = Field(
        29_360_128, ge=1_024, description="Largest request body: two image files in base64, and the request round them."
    )
    max_image_bytes: int = Field(10_485_760, ge=1_024, description="Largest file of an input image.")
    max_json_depth: int = Field(16, ge=2, le=64, description="Deepest nesting of a request body.")
    max_wait_seconds: int = Field(60, ge=0, le=300, description="Longest wait that `Prefer: wait` may ask for.")
    max_listeners: int = Field(
        200, ge=0, description="Streams and waits of one owner at once, in each API process; 0 sets no limit."
    )
    requests_per_minute: int = Field(6_000, ge=0, description="Requests that one API key may make; 0 sets no limit.")
    refusals_per_minute: int = Field(
        60, ge=0, description="Requests without a valid key that one address may make before 429; 0 sets no limit."
    )
    trusted_proxies: str = Field(
        "", description="Networks like `10.0.0.0/8`, by commas, whose `X-Forwarded-For` is believed."
    )
    cors_origins: str = Field("", description="Web origins that may call from a page, comma-separated.")
    docs: bool = Field(default=True, description="Serve `/docs` and `/openapi.json`.")
    metrics: bool = Field(default=True, description="Serve `/metrics`.")
    api_metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port of its own for the API's `/metrics`, on the same address; 0: the API's port.",
    )

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of the operator's own proxies."""
        return tuple(ip_network(part.strip()) for part in self.trusted_proxies.split(",") if part.strip())

    @model_validator(mode="after")
    def _proxies_can_be_read(self) -> Self:
        try:
            _ = self.proxies
        except ValueError:
            raise ValueError("DARKROOM_TRUSTED_PROXIES must be networks like 10.0.0.0/8, by commas") from None
        return self
