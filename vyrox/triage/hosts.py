"""Which host an alert is about, within one tenant: device ids first, then names."""

import ipaddress
from collections import defaultdict
from typing import Final

from vyrox.models import NormalizedAlert

_PLACEHOLDERS: Final = frozenset(
    {
        "",
        "-",
        "n/a",
        "na",
        "none",
        "null",
        "unknown",
        "undefined",
        "localhost",
        "localhost.localdomain",
    }
    | {"127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104  (a value to ignore, not an address to bind)
)


def clean(text: str | None) -> str | None:
    """Return an identifier in lower case, or None for a placeholder."""
    folded = (text or "").strip().casefold().rstrip(".")
    return None if folded in _PLACEHOLDERS else folded


def short_name(name: str) -> str:
    """Return a host name without its domain; an address stays whole."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.partition(".")[0]
    return name


class Hosts:
    """The hosts of one tenant, learned from its alerts. A host is a number."""

    def __init__(self) -> None:
        self._by_device: dict[tuple[str, str], int] = {}
        self._named: dict[str, set[int]] = defaultdict(set)  # by short name
        self._full_names: dict[int, set[str]] = defaultdict(set)
        self._devices: dict[int, set[tuple[str, str]]] = defaultdict(set)
        self._next = 0

    def identify(self, alert: NormalizedAlert) -> int | None:
        """Return the host of `alert`; None if it names none, or none that is certain."""
        name = clean(alert.hostname)
        device_id = clean(alert.device_id)
        if device_id is None:
            return None if name is None else self._by_name_alone(name)
        device = (alert.source, device_id)
        host = self._by_device.get(device)
        if host is None:
            host = self._for_new_device(device, name)
            self._by_device[device] = host
            self._devices[host].add(device)
        if name is not None:
            self._learn(host, name)
        return host

    def bearing(self, name: str) -> set[int]:
        """Return the hosts that bear `name`."""
        return {host for host in self._named[short_name(name)] if self._fits(host, name)}

    def names(self, host: int) -> set[str]:
        """Return the short names of a host."""
        return {short_name(name) for name in self._full_names[host]}

    def _by_name_alone(self, name: str) -> int | None:
        found = self.bearing(name)
        if not found:
            host = self._new()
            self._learn(host, name)
            return host
        if len(found) == 1:
            host = found.pop()
            self._learn(host, name)
            return host
        # Several devices of one vendor bear this name, so it names none of them.
        return None

    def _for_new_device(self, device: tuple[str, str], name: str | None) -> int:
        if name is not None:
            vendor = device[0]
            free = {
                host
                for host in self.bearing(name)
                if all(other[0] != vendor for other in self._devices[host])
            }
            if len(free) == 1 and len(self.bearing(name)) == 1:
                return free.pop()
        return self._new()

    def _new(self) -> int:
        self._next += 1
        return self._next

    def _learn(self, host: int, name: str) -> None:
        self._named[short_name(name)].add(host)
        self._full_names[host].add(name)

    def _fits(self, host: int, name: str) -> bool:
        return any(
            known == name or "." not in known or "." not in name
            for known in self._full_names[host]
            if short_name(known) == short_name(name)
        )
