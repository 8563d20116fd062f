"""From which address a request comes, for the log and the audit events only (contract 84)."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.types import Scope

MAX_FORWARDED: Final = 32
"""Addresses of `X-Forwarded-For` that are read, the last one first."""

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

_FORWARDED: Final = b"x-forwarded-for"
_LONGEST: Final = 64
"""Characters of an address with a port."""


def sender_of(scope: Scope) -> str | None:
    """Return the address of the peer or, behind trusted proxies, of their client.

    It is what a sender claims as soon as a proxy is trusted that does not set the header itself.
    None: the peer has no address, as on a UNIX socket.
    """
    client = scope.get("client")
    if client is None:
        return None
    state = getattr(scope.get("app"), "state", None)
    trusted: tuple[Network, ...] = getattr(state, "trusted_proxies", ())
    peer = _parse(client[0])
    if peer is None:
        return None
    if not trusted or not _is_in(peer, trusted):
        return str(peer)
    return str(_forwarded_for(scope, peer, trusted))


def _forwarded_for(scope: Scope, peer: _Address, trusted: tuple[Network, ...]) -> _Address:
    """Return the last address outside of `trusted`; else the first of the known ones."""
    values = [value for name, value in scope["headers"] if name == _FORWARDED]
    listed = b",".join(values).rsplit(b",", MAX_FORWARDED)[-MAX_FORWARDED:] if values else []
    nearest = peer
    for each in reversed(listed):
        address = _parse(each.decode("latin-1").strip())
        if address is None:
            break  # what a client has written to the left of it proves nothing
        nearest = address
        if not _is_in(address, trusted):
            break
    return nearest


def _is_in(address: _Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> _Address | None:
    """Return an address, with or without a port. A zone could hold any text, so it has none."""
    if len(text) > _LONGEST or "%" in text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
