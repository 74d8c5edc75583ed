"""Reads the URL of a webhook's receiver, more strictly than browsers do, so that everybody reads it the same.

It says what can be said without a network: form, scheme, port, and a host that is itself an address. Where a name
leads is asked, and checked, each time it is connected to. Messages never repeat the URL: it may hold a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from darkroom.addresses import canonical, why_forbidden

if TYPE_CHECKING:  # the settings know jobs, and a job's request knows this module
    from darkroom.settings import WebhookSettings

MAX_URL = 2_048
_PORTS = {"https": 443, "http": 80}
_PRINTABLE = re.compile(r"[!-~]+")
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # a resolver would read such a name as an address


class BadWebhookUrl(ValueError):
    """What is wrong with a URL, as a sentence's end: `must ...`."""


@dataclass(frozen=True)
class WebhookUrl:
    """The parts of a URL that passed."""

    scheme: str
    host: str  # a name in lower case, or an address without brackets
    port: int
    target: str  # path and query, as sent in the request line

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown, because it holds no path or token."""
        return f"{self.scheme}://{self.authority}"


def read_webhook_url(text: str, settings: WebhookSettings) -> WebhookUrl:
    """Take a receiver's URL apart.

    Raises:
        BadWebhookUrl: it may not be used.
    """
    if len(text) > MAX_URL:
        raise BadWebhookUrl(f"must have at most {MAX_URL} characters")
    if not _PRINTABLE.fullmatch(text) or "\\" in text:
        raise BadWebhookUrl("must hold printable ASCII without spaces or backslashes; escape the rest")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadWebhookUrl("must be a URL") from None
    schemes = ("https", "http") if settings.webhook_http else ("https",)
    if parts.scheme not in schemes:
        raise BadWebhookUrl(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if "@" in parts.netloc:
        raise BadWebhookUrl("must not hold a user name or password")
    if "#" in text:
        raise BadWebhookUrl("must not have a fragment (#)")
    if port is None:
        port = _PORTS[parts.scheme]
    if port not in settings.ports:
        raise BadWebhookUrl(f"must use one of the ports {settings.webhook_ports}")
    host = _host(parts.hostname or "", settings, bracketed="[" in parts.netloc)
    query = f"?{parts.query}" if parts.query else ""
    return WebhookUrl(scheme=parts.scheme, host=host, port=port, target=f"{parts.path or '/'}{query}")


def _host(host: str, settings: WebhookSettings, *, bracketed: bool) -> str:
    if bracketed or _NUMERIC_END.fullmatch(host):
        try:
            address = canonical(host)
        except ValueError:
            raise BadWebhookUrl("must name a host, or an address in its usual form") from None
        if why_forbidden(address, allowed=settings.networks):
            raise BadWebhookUrl("must lead to a public address")
        return host
    if not _NAME.fullmatch(host):
        raise BadWebhookUrl("must name a host (in ASCII; `xn--` for other letters)")
    return host
