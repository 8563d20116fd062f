"""Whether a request whose id is free may be carried out (contract 25, 34 and 35).

The vendor's ability comes first, then the tenant's guard rails, in the transaction that claims.
"""

from typing import Final, get_args

import msgspec
from sqlalchemy import Connection

from vyrox import devices
from vyrox.edr import Device
from vyrox.edr.actions import is_supported, normal_host
from vyrox.edr_credentials import Responsible
from vyrox.guard_rails import GuardRails
from vyrox.models import ContainmentRequest, LiftType

_LIFTS: Final = frozenset(get_args(LiftType))


class Claimed(msgspec.Struct, frozen=True):
    """The containment is this attempt's to carry out, by whoever is responsible."""

    responsible: Responsible = Responsible()


class NeedsDevice(msgspec.Struct, frozen=True):
    """Nothing is claimed: some devices are not to be contained, and is this one of them?

    The vendor is to be asked which device it is, and then the claim is to be made again with it.
    """

    responsible: Responsible


class Refused(msgspec.Struct, frozen=True):
    """Nothing is claimed: a guard rail stands against it."""

    rule: str


class NotSupported(msgspec.Struct, frozen=True):
    """It is free, and would be this attempt's if the vendor could do the action."""


Admission = Claimed | NeedsDevice | Refused | NotSupported


def admit(
    connection: Connection,
    rails: GuardRails,
    request: ContainmentRequest,
    who: Responsible,
    device: Device | None,
    *,
    dry_run: bool,
) -> Admission:
    """Return what becomes of a request whose id is free; what is claimed counts from here on.

    Args:
        device: Which one the vendor says it is, where it was asked (see NeedsDevice).
    """
    if who.vendor is not None and not is_supported(who.vendor, request.action_type, who.alert):
        return NotSupported()
    if request.action_type in _LIFTS:
        rule = rails.broken_by_lift(request.tenant_id)
        if rule is None and not (dry_run or request.force):
            contained = devices.is_contained(
                connection, request.tenant_id, who.vendor, request.host
            )
            rule = None if contained else "not contained by vyrox"
    else:
        ask = device is None and not dry_run and who.credentials is not None
        if ask and rails.protects_devices(request.tenant_id):
            return NeedsDevice(who)
        rule = rails.broken_by(request.tenant_id, device or _as_far_as_known(request, who))
    if rule is not None:
        return Refused(rule)
    if request.action_type not in _LIFTS:
        rails.note_begun(request.tenant_id)
    return Claimed(who)


def _as_far_as_known(request: ContainmentRequest, who: Responsible) -> Device:
    """Return the device that the request means, without having asked the vendor."""
    alert = who.alert
    same = (
        alert is not None
        and alert.device_id is not None
        and normal_host(alert.device_id) == normal_host(request.host)
    )
    named = alert.hostname if alert is not None and same else None
    return Device(request.host, named or request.host)
