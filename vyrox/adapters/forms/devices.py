"""Which machine an alert with several devices is about (contract 70)."""

from collections.abc import Iterable
from typing import NamedTuple


class Device(NamedTuple):
    """One device of an alert.

    Attributes:
        name: Its host name.
        id: The vendor's identifier of it.
        is_named: The vendor calls it compromised.
        is_main: The vendor calls it the main device.
    """

    name: str | None = None
    id: str | None = None
    is_named: bool = False
    is_main: bool = False


class Machine(NamedTuple):
    """The machine of an alert. There is no `id` if it is not certain."""

    name: str | None = None
    id: str | None = None
    notes: tuple[str, ...] = ()


_SEVERAL = "several devices, and none is marked as the compromised one: no device id"


def machine_of(devices: Iterable[Device]) -> Machine:
    """Return the machine that the alert is about.

    A person reads the name and approves; then the machine with the id is isolated. So both are of
    one device: the only one, or else the only compromised one, or else the only main one. If none
    of these is certain, there is a name to read, and no id to act on.
    """
    known = _merged(device for device in devices if device.name or device.id)
    for some in (
        known,
        [device for device in known if device.is_named],
        [device for device in known if device.is_main],
    ):
        if len(some) == 1:
            return Machine(some[0].name, some[0].id)
    name = next((device.name for device in known if device.name), None)
    return Machine(name, None, (_SEVERAL,) if known else ())


def _merged(devices: Iterable[Device]) -> list[Device]:
    """Return each device once: evidence of a file or process repeats the id of its device."""
    merged: dict[str, Device] = {}
    for device in devices:
        key = (device.id or f"name {device.name}").lower()
        other = merged.get(key, device)
        merged[key] = Device(
            other.name or device.name,
            device.id,
            other.is_named or device.is_named,
            other.is_main or device.is_main,
        )
    return list(merged.values())
