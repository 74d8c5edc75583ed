"""Which URLs a webhook may have, and how they are read."""

from __future__ import annotations

import pytest

from darkroom.settings import WebhookSettings
from darkroom.webhook_urls import BadWebhookUrl, WebhookUrl, read_webhook_url
from tests.fixtures.forbidden import FORBIDDEN_URLS

DEFAULT = WebhookSettings()


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
def test_url_that_is_not_plainly_public_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(BadWebhookUrl, match=r"^must ") as caught:
        read_webhook_url(url, DEFAULT)

    assert len(url) < 12 or url not in str(caught.value)


def test_url_is_taken_apart() -> None:
    read = read_webhook_url("https://Hooks.Example.com:8443/in/box?token=a%20b", DEFAULT)

    assert read == WebhookUrl("https", "hooks.example.com", 8443, "/in/box?token=a%20b")
    assert (read.authority, read.origin) == ("hooks.example.com:8443", "https://hooks.example.com:8443")


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://example.com", "example.com", "/"),
        ("https://example.com:443/a", "example.com", "/a"),
        ("https://xn--bcher-kva.example/?q", "xn--bcher-kva.example", "/?q"),
        ("https://1.1.1.1/", "1.1.1.1", "/"),
        ("https://[2606:4700:4700::1111]:8443/x", "[2606:4700:4700::1111]:8443", "/x"),
        ("https://my_host.example.com/", "my_host.example.com", "/"),
    ],
)
def test_usual_forms_are_accepted(url: str, authority: str, target: str) -> None:
    read = read_webhook_url(url, DEFAULT)

    assert (read.authority, read.target) == (authority, target)


def test_operator_may_open_http_ports_and_networks() -> None:
    settings = WebhookSettings(
        webhook_http=True, webhook_ports="80, 9000-9099", webhook_networks="10.1.0.0/16, ::1/128"
    )

    assert read_webhook_url("http://example.com/", settings).port == 80
    assert read_webhook_url("http://10.1.2.3:9042/", settings).host == "10.1.2.3"
    assert read_webhook_url("http://[::1]:9042/", settings).authority == "[::1]:9042"
    with pytest.raises(BadWebhookUrl, match="public"):
        read_webhook_url("http://10.2.2.3:9042/", settings)
