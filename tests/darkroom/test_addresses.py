"""Which addresses are public, by the registries' tables and every trick to write a private one."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from darkroom.addresses import canonical, why_forbidden
from tests.fixtures.forbidden import FORBIDDEN_ADDRESSES

PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
)


@pytest.mark.parametrize("text", FORBIDDEN_ADDRESSES)
def test_forbidden_address_is_known_as_such(text: str) -> None:
    assert why_forbidden(canonical(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_address_is_allowed(text: str) -> None:
    assert why_forbidden(canonical(text)) is None


def test_there_are_more_than_sixty_forbidden_ones() -> None:
    assert len(set(FORBIDDEN_ADDRESSES)) > 60


def test_operator_may_allow_a_network_of_their_own() -> None:
    allowed = (ip_network("10.1.0.0/16"),)

    assert why_forbidden(canonical("10.1.2.3"), allowed=allowed) is None
    assert why_forbidden(canonical("::ffff:10.1.2.3"), allowed=allowed) is None
    assert why_forbidden(canonical("10.2.2.3"), allowed=allowed) == "private"


def test_address_with_a_zone_is_none() -> None:
    with pytest.raises(ValueError, match="zone"):
        canonical("fe80::1%eth0")
