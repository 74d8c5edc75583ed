"""Webhooks: which receivers they may be sent to, and the process that delivers them.

Lists are read where the class is built, so that a wrong one stops the start.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from darkroom.settings.environment import Settings


class WebhookSettings(Settings):
    """Which receivers webhooks may be sent to."""

    webhook_http: bool = Field(default=False, description="Allow receivers without TLS (`http://`).")
    webhook_ports: str = Field(
        "80,443,8443", description="Ports that receivers may listen on: numbers and ranges like `9000-9099`, by commas."
    )
    webhook_networks: str = Field(
        "", description="Networks like `10.1.0.0/16`, by commas, that receivers may lie in although they aren't public."
    )

    @property
    def ports(self) -> frozenset[int]:
        """Every port that is allowed."""
        spans = [part.strip().partition("-") for part in self.webhook_ports.split(",")]
        return frozenset(port for low, _, high in spans for port in range(int(low), int(high or low) + 1))

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The operator's exceptions."""
        return tuple(ip_network(part.strip()) for part in self.webhook_networks.split(",") if part.strip())

    @model_validator(mode="after")
    def _lists_can_be_read(self) -> Self:
        try:
            ports = self.ports
        except ValueError:
            raise ValueError("DARKROOM_WEBHOOK_PORTS must be numbers and ranges, by commas") from None
        if not ports or not ports <= set(range(1, 65_536)):
            raise ValueError("DARKROOM_WEBHOOK_PORTS must name ports from 1 to 65535")
        try:
            _ = self.networks
        except ValueError:
            raise ValueError("DARKROOM_WEBHOOK_NETWORKS must be networks like 10.1.0.0/16, by commas") from None
        return self


class DeliverySettings(Settings):
    """The process that delivers webhooks."""

    delivery_connect_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for a connection.")
    delivery_timeout_seconds: float = Field(15.0, gt=0, le=120, description="Longest time of a whole delivery.")
    delivery_lease_spare_seconds: float = Field(
        15.0, gt=0, description="How much longer than a delivery its lease lasts; then another process sends it again."
    )
    delivery_concurrency: int = Field(64, ge=1, le=1_024, description="Deliveries under way at once.")
    delivery_per_endpoint: int = Field(4, ge=1, le=64, description="Deliveries under way at once to one endpoint.")
    delivery_retry_seconds: str = Field(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        description="Pauses before each new attempt, by commas; after the last one a delivery is a dead letter.",
    )
    delivery_ca_file: Path | None = Field(None, description="Certificates (PEM) to trust beside the system's own.")
    delivery_metrics_host: str = Field("127.0.0.1", description="Address of the delivery process's metrics.")
    delivery_metrics_port: int = Field(0, ge=0, le=65_535, description="Port of these metrics; 0 serves none.")

    @property
    def pauses(self) -> tuple[float, ...]:
        """Seconds before the second attempt, the third, and so on."""
        return tuple(float(part) for part in self.delivery_retry_seconds.split(","))

    @model_validator(mode="after")
    def _pauses_can_be_read(self) -> Self:
        try:
            fits = all(0 < pause < 7 * 86_400 for pause in self.pauses)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("DARKROOM_DELIVERY_RETRY_SECONDS must be numbers of seconds, by commas")
        return self
