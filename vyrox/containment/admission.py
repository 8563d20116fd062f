"""Whether a request whose id is free may be carried out (contract 25, 34, 35 and 43).

The vendor's ability comes first, then the tenant's guard rails, in the transaction that claims.
Nothing here writes, so a preview goes through the same steps.
"""

from typing import Final, get_args

import msgspec
from sqlalchemy import Connection

from vyrox.containment import devices
from vyrox.containment.responder import Responder
from vyrox.edr.actions import is_supported, records_containment
from vyrox.models import ContainmentRequest, Device, EdrVendor, LiftType, NormalizedAlert
from vyrox.tenants.device_names import Named, find_named
from vyrox.tenants.device_rules import is_of_alert
from vyrox.tenants.guard_rails import GuardRails

_LIFTS: Final = frozenset(get_args(LiftType))


class Known(msgspec.Struct, frozen=True):
    """What Vyrox knows about a request without having asked the vendor (contract 43).

    The names are those of the members of a dry run's event.

    Attributes:
        alert_device: The device that the alert names.
        alert_host: The host name that the alert gives.
        guard_rails: What they say to both, or to the request's host if the alert names neither.
        per_hour: The tenant's limit, if it has one.
        begun_in_hour: How much of the limit is used without this request.
        vendor: Whose host it is.
        credentials_stored: Whether the tenant has credentials at this vendor.
    """

    alert_known: bool
    alert_device: str | None
    alert_host: str | None
    guard_rails: str
    per_hour: int | None
    begun_in_hour: int | None
    vendor: EdrVendor | None
    credentials_stored: bool


class Claimed(msgspec.Struct, frozen=True):
    """The containment is this attempt's to carry out, by whoever is responsible.

    Attributes:
        known: In a dry run.
    """

    responsible: Responder = Responder()
    known: Known | None = None


class NeedsDevice(msgspec.Struct, frozen=True):
    """Nothing is claimed: it depends on the device that `host` is at the vendor.

    The vendor is to be asked which device it is, and then the claim is to be made again with it.
    """

    responsible: Responder


class Refused(msgspec.Struct, frozen=True):
    """Nothing is claimed: a guard rail stands against it.

    Attributes:
        known: In a dry run.
        named: The device, if the rule is one for host names.
    """

    rule: str
    known: Known | None = None
    named: Named | None = None


class NotSupported(msgspec.Struct, frozen=True):
    """It is free, and would be this attempt's if the vendor could do the action."""


Admission = Claimed | NeedsDevice | Refused | NotSupported


def admit(
    connection: Connection,
    rails: GuardRails,
    request: ContainmentRequest,
    who: Responder,
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
    known = know(rails, request, who) if dry_run else None
    if request.action_type in _LIFTS:
        rule = _broken_by_lift(connection, rails, request, who, device, dry_run=dry_run)
        if rule is not None:
            return Refused(rule, known)
        is_free = dry_run or request.force or device is not None
        return Claimed(who, known) if is_free or not _has_record(who) else NeedsDevice(who)
    tenant_id = request.tenant_id
    if rule := rails.broken_by_request(tenant_id, who.alert):
        return Refused(rule, known)
    can_ask = device is None and not dry_run and who.credentials is not None
    if can_ask and rails.needs_device(tenant_id, who.alert):
        return NeedsDevice(who)
    meant = device or _as_far_as_known(request.host, who.alert)
    rule = rails.broken_by_device(tenant_id, meant, who.alert) or rails.broken_by_limit(tenant_id)
    if rule is not None:
        return Refused(rule, known, find_named(connection, rule, tenant_id, who.vendor, meant))
    rails.note_begun(tenant_id)
    return Claimed(who, known)


def know(rails: GuardRails, request: ContainmentRequest, who: Responder) -> Known:
    """Return what Vyrox knows about `request` without asking the vendor."""
    tenant_id, alert = request.tenant_id, who.alert
    per_hour = rails.of(tenant_id).per_hour
    return Known(
        alert_known=alert is not None,
        alert_device=None if alert is None else alert.device_id,
        alert_host=None if alert is None else alert.hostname,
        guard_rails=_say(rails, request, alert),
        per_hour=per_hour or None,
        begun_in_hour=rails.begun_in_hour(tenant_id) if per_hour else None,
        vendor=who.vendor,
        credentials_stored=who.credentials is not None,
    )


def _say(rails: GuardRails, request: ContainmentRequest, alert: NormalizedAlert | None) -> str:
    """Return the rule against the alert's own host, or that there is none."""
    tenant_id = request.tenant_id
    if request.action_type in _LIFTS:
        return rails.broken_by_lift(tenant_id) or "allowed"
    rule = rails.broken_by_request(tenant_id, alert) or rails.broken_by_device(
        tenant_id, _named_by(alert, request.host), alert
    )
    if rule is not None:
        return rule
    has_tags = any(rule.startswith("tag:") for rule in rails.of(tenant_id).never_contain)
    return "allowed, if its tags at the vendor are not in the list" if has_tags else "allowed"


def _broken_by_lift(
    connection: Connection,
    rails: GuardRails,
    request: ContainmentRequest,
    who: Responder,
    device: Device | None,
    *,
    dry_run: bool,
) -> str | None:
    rule = rails.broken_by_lift(request.tenant_id)
    if rule is not None or dry_run or request.force:
        return rule
    if not devices.is_contained(connection, request.tenant_id, who.vendor, request.host):
        return "not contained by vyrox"
    if device is not None and devices.is_others(connection, request.tenant_id, who.vendor, device):
        return "contained by others"
    return None


def _has_record(who: Responder) -> bool:
    """Return whether the vendor can be asked who has contained a device."""
    return who.credentials is not None and records_containment(who.credentials.vendor)


def _as_far_as_known(host: str, alert: NormalizedAlert | None) -> Device:
    """Return the device that `host` means, without having asked the vendor."""
    device = _assumed(host, host)
    return _named_by(alert, host) if is_of_alert(device, alert) else device


def _named_by(alert: NormalizedAlert | None, host: str) -> Device:
    """Return the device that `alert` names, with `host` for what the alert does not give."""
    if alert is None:
        return _assumed(host, host)
    device_id = alert.device_id or alert.hostname or host
    return _assumed(device_id, alert.hostname or device_id)


def _assumed(device_id: str, name: str) -> Device:
    # Only the vendor knows its tags. Nothing is sent for this device, so no rule for tags applies.
    return Device(device_id, name, ())
