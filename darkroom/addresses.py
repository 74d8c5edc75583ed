"""Which network addresses a stranger may make this service connect to: public ones, and nothing else.

Version 4 is a list of what is forbidden; version 6 the other way round: only global unicast is allowed, less what is
set aside in it and every form that carries a version-4 address inside. Resolves nothing and connects to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORBIDDEN = {
    ip_network(network): name
    for network, name in {
        "0.0.0.0/8": "this network",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared by a carrier",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud's metadata",  # Azure's, the one that stands among public addresses
        "169.254.0.0/16": "link-local",  # most clouds' metadata
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "set aside for protocols",  # Oracle's metadata
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4 relay",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
        "2001::/23": "set aside for protocols",  # Teredo, ORCHID, benchmarking
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",
        "3ffe::/16": "given back",
        "3fff::/20": "documentation",
    }.items()
}
_GLOBAL_UNICAST = ip_network("2000::/3")


def canonical(text: str) -> Address:
    """The address behind a text; a version-4 address mapped into version 6 is taken out.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError("an address with a zone is valid on one machine only")
        return address.ipv4_mapped or address
    return address


def why_forbidden(address: Address, *, allowed: Iterable[Network] = ()) -> str | None:
    """What kind of forbidden address this canonical one is; None where it may be connected to.

    `allowed` are the operator's own exceptions.
    """
    if any(address in network for network in allowed):
        return None
    for network, name in _FORBIDDEN.items():
        if address in network:
            return name
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "not global"
    return None
