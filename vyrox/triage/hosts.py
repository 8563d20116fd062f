"""Which host an alert is about, within one tenant: device ids first, then names."""

import ipaddress
from collections import defaultdict
from functools import lru_cache
from typing import Final

import msgspec

from vyrox.models import NormalizedAlert

MAX_BEARERS: Final = 32
"""Hosts of one name that are remembered. The name of that many hosts names none of them."""

MAX_NAMES: Final = 16
"""Names of one host that are remembered."""

MAX_TEXT: Final = 200
"""Characters of a name or a device id that count."""

RENEWED_S: Final = 3600.0
"""How old the last time of a name or a device may be before it is renewed."""

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


class DeviceRow(msgspec.Struct, frozen=True):
    """A vendor's device, and the host that it is. Times are Unix seconds."""

    source: str
    device_id: str
    host: int
    first_at: float
    last_at: float


class NameRow(msgspec.Struct, frozen=True):
    """A name that a host has borne."""

    name: str
    host: int
    first_at: float
    last_at: float


def clean(text: str | None) -> str | None:
    """Return an identifier in lower case, or None for a placeholder.

    It is bounded, and holds no NUL and no lone surrogate, which PostgreSQL does not store.
    """
    return None if not text else _clean(text[: 4 * MAX_TEXT])


def exact_device(alert: NormalizedAlert) -> str | None:
    """Return the alert's own device id; None if it has none, or one that had to be changed."""
    device_id = clean(alert.device_id)
    return device_id if device_id == (alert.device_id or "").strip().casefold() else None


@lru_cache(4096)
def _clean(text: str) -> str | None:
    folded = text.replace("\0", "").strip().casefold().rstrip(".")
    folded = folded.encode("utf-8", "replace").decode()[:MAX_TEXT]
    return None if folded in _PLACEHOLDERS else folded


@lru_cache(4096)
def short_name(name: str) -> str:
    """Return a host name without its domain; an address stays whole."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.partition(".")[0]
    return name


class Hosts:
    """Hosts of one tenant, learned from its alerts. A host is a number.

    `new_devices` and `new_names` hold what is to be stored.
    """

    def __init__(self, newest: int = 0) -> None:
        """`newest` is the highest number that was given to a host."""
        self.newest = newest
        self.new_devices: dict[tuple[str, str], DeviceRow] = {}
        self.new_names: dict[tuple[str, int], NameRow] = {}
        self._devices: dict[tuple[str, str], DeviceRow] = {}
        self._devices_of: dict[int, set[tuple[str, str]]] = defaultdict(set)
        self._names: dict[tuple[str, int], NameRow] = {}
        self._bearers: dict[str, set[int]] = defaultdict(set)  # by short name
        self._names_of: dict[int, set[str]] = defaultdict(set)

    def put_device(self, row: DeviceRow) -> None:
        """Take a device that is known already."""
        self._devices[row.source, row.device_id] = row
        self._devices_of[row.host].add((row.source, row.device_id))

    def put_name(self, row: NameRow) -> None:
        """Take a name that is known already."""
        self._names[row.name, row.host] = row
        self._bearers[short_name(row.name)].add(row.host)
        self._names_of[row.host].add(row.name)

    def identify(self, alert: NormalizedAlert, at: float) -> int | None:
        """Return the host of `alert`; None if it names none, or none that is certain."""
        name = clean(alert.hostname)
        device_id = clean(alert.device_id)
        if device_id is None:
            return None if name is None else self._by_name_alone(name, at)
        device = (alert.source, device_id)
        known = self._devices.get(device)
        host = self._for_new_device(device, name) if known is None else known.host
        self._learn_device(device, host, at)
        if name is not None:
            self._learn_name(host, name, at)
        return host

    def of_device(self, source: str, device_id: str) -> int | None:
        """Return the host that a vendor's device is, if it is known."""
        known = self._devices.get((source, device_id))
        return None if known is None else known.host

    def bearing(self, name: str) -> set[int]:
        """Return the hosts that bear `name`."""
        return {host for host in self._bearers[short_name(name)] if self._fits(host, name)}

    def names(self, host: int) -> set[str]:
        """Return the short names of a host."""
        return {short_name(name) for name in self._names_of[host]}

    def certain_device(self, alert: NormalizedAlert, host: int | None) -> str | None:
        """Return the device of an alert; None if it names none, and its host has not exactly one.

        None also for an id that had to be cut or cleaned: without that it may be another device's.
        """
        device_id = clean(alert.device_id)
        if device_id is None:
            return None if host is None else self.only_device(host, alert.source)
        return exact_device(alert)

    def only_device(self, host: int, source: str) -> str | None:
        """Return the host's device at this vendor, if it has exactly one."""
        ids = [device_id for vendor, device_id in self._devices_of[host] if vendor == source]
        return ids[0] if len(ids) == 1 else None

    def _by_name_alone(self, name: str, at: float) -> int | None:
        found = self.bearing(name)
        if len(found) > 1:
            # Several devices of one vendor bear this name, so it names none of them.
            return None
        host = found.pop() if found else self._new()
        self._learn_name(host, name, at)
        return host

    def _for_new_device(self, device: tuple[str, str], name: str | None) -> int:
        bearers = set() if name is None else self.bearing(name)
        if len(bearers) == 1:
            host = next(iter(bearers))
            if all(vendor != device[0] for vendor, _ in self._devices_of[host]):
                return host
        return self._new()

    def _new(self) -> int:
        self.newest += 1
        return self.newest

    def _learn_device(self, device: tuple[str, str], host: int, at: float) -> None:
        known = self._devices.get(device)
        if known is not None and at <= known.last_at + RENEWED_S:
            return
        row = DeviceRow(*device, host, at if known is None else known.first_at, at)
        self.put_device(row)
        self.new_devices[device] = row

    def _learn_name(self, host: int, name: str, at: float) -> None:
        known = self._names.get((name, host))
        if known is not None and at <= known.last_at + RENEWED_S:
            return
        bearers = self._bearers[short_name(name)]
        if known is None and host not in bearers and len(bearers) >= MAX_BEARERS:
            return
        if known is None and len(self._names_of[host]) >= MAX_NAMES:
            return
        row = NameRow(name, host, at if known is None else known.first_at, at)
        self.put_name(row)
        self.new_names[name, host] = row

    def _fits(self, host: int, name: str) -> bool:
        return any(
            known == name or "." not in known or "." not in name
            for known in self._names_of[host]
            if short_name(known) == short_name(name)
        )
