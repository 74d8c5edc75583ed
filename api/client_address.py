"""From which address a request comes, past the operator's own proxies. Nobody else's `X-Forwarded-For` is believed.

An IPv6 address stands for its /64, for that is what one customer of a network gets.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

UNKNOWN = "unknown"  # a Unix socket's peer
MOST_HOPS = 20


def client_address(scope: Scope, proxies: Collection[IPv4Network | IPv6Network]) -> str:
    """The address nearest to the client that somebody trustworthy vouches for."""
    peer = scope.get("client")
    address = _parse(peer[0]) if peer else None
    hops = [hop for line in Headers(scope=scope).getlist("x-forwarded-for") for hop in line.split(",")][-MOST_HOPS:]
    while address is not None and hops and any(address in network for network in proxies):
        before = _parse(hops.pop())
        if before is None:
            break
        address = before
    return UNKNOWN if address is None else _named(address)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _named(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address), 64), strict=False).network_address)
