"""Which addresses a notification may be sent to: public ones only.

An operator of a tenant chooses the URL. Vyrox is inside the network, so a URL must not make it send
to a machine there, or to the metadata service of a cloud.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_REFUSED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata
        "168.63.129.16/32",  # Azure's platform; public by its number only
        "192.0.0.0/24",  # Oracle's metadata among it
        "192.88.99.0/24",  # relays of 6to4
    )
)
"""Beside those that `ipaddress` knows. Its own list differs between versions of Python."""

_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""The only part of IPv6 that is assigned to the public internet."""

_REFUSED_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: a tunnel to an IPv4 address
        "3fff::/20",  # documentation
    )
)

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""An IPv4 address, as a network without IPv4 writes it."""


def why_refused(address: str) -> str:
    """Return, for a person, why nothing is sent to this address."""
    return (
        f"refused address: {address} is not on the public internet. To allow this host, name it "
        "in NOTIFY_ALLOWED_HOSTS"
    )


def is_public(text: str) -> bool:
    """Return whether `text` is an address on the public internet. An IPv6 zone is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_v4(address) if isinstance(address, IPv4Address) else _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    unusual = address.is_multicast or address.is_reserved
    return address.is_global and not unusual and not any(address in net for net in _REFUSED_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    inner = address.ipv4_mapped
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if inner is not None:
        return _is_public_v4(inner)
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return False
    return address.is_global and not any(address in net for net in _REFUSED_V6)
