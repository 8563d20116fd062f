"""Whether a request without an earlier claim may be carried out (contract 25, 34, 35 and 43).

The vendor's abilities are checked first, then the tenant's guard rails, in the transaction that
claims. Nothing here writes, so a preview runs the same checks.
"""

from typing import Final, get_args

import msgspec
from sqlalchemy import Connection

from vyrox.containment import contained
from vyrox.containment.attempt import Attempt, Known, Sent
from vyrox.containment.responder import Responder
from vyrox.edr.actions import records_containment, why_unsupported
from vyrox.models import ContainmentRequest, Device, LiftType, NormalizedAlert
from vyrox.tenants.device_names import Named, find_named
from vyrox.tenants.device_rules import is_of_alert
from vyrox.tenants.guard_rails import GuardRails

_UNKNOWN: Final = {"device": "id", "host": "name", "tag": "tags"}
"""By kind of rule: what only the vendor knows, unless the alert names it. It never names tags."""

_LIFTS: Final = frozenset(get_args(LiftType))


class Claimed(msgspec.Struct, frozen=True):
    """The request is claimed: this attempt may carry it out.

    Attributes:
        known: In a dry run.
    """

    responder: Responder = Responder()
    known: Known | None = None


class NeedsDevice(msgspec.Struct, frozen=True):
    """Nothing is claimed: the guard rails depend on the device.

    The caller asks the vendor which device `host` names, and claims again with it.
    """

    responder: Responder


class Refused(msgspec.Struct, frozen=True):
    """Nothing is claimed: a guard rail refuses the request.

    Attributes:
        known: In a dry run.
        named: The device, if the rule is for host names.
    """

    rule: str
    known: Known | None = None
    named: Named | None = None


class NotSupported(msgspec.Struct, frozen=True):
    """Nothing is claimed: the vendor cannot do the action."""

    reason: str


class NotApproved(msgspec.Struct, frozen=True):
    """Nothing is claimed: the proposal of the attempt does not allow it now (contract 62)."""

    reason: str


Admission = Claimed | NeedsDevice | Refused | NotSupported | NotApproved


def admit_attempt(
    connection: Connection, rails: GuardRails, attempt: Attempt, responder: Responder
) -> Admission:
    """Decide on an attempt without an earlier claim: its approval first, then `admit`."""
    request, approval = attempt.request, attempt.approval
    if approval is None and attempt.needs_approval:
        return Refused("an approved proposal is required")
    if approval is not None:
        sent = Sent(request, responder.vendor, attempt.device, responder.alert)
        reason = approval.find_objection(connection, sent, attempt.now, is_begun=False)
        if reason is not None:
            return NotApproved(reason)
    return admit(connection, rails, request, responder, attempt.device, dry_run=attempt.dry_run)


def admit(
    connection: Connection,
    rails: GuardRails,
    request: ContainmentRequest,
    responder: Responder,
    device: Device | None,
    *,
    dry_run: bool,
) -> Admission:
    """Decide on a request without an earlier claim, and count it for the limit if it is claimed.

    Args:
        device: The device that the vendor named, if it was asked (see NeedsDevice).
    """
    tenant_id, vendor, alert = request.tenant_id, responder.vendor, responder.alert
    if vendor is not None and (reason := why_unsupported(vendor, request.action_type, alert)):
        return NotSupported(reason)
    known = find_known(rails, request, responder) if dry_run else None
    if request.action_type in _LIFTS:
        rule = _broken_by_lift(connection, rails, request, responder, device, dry_run=dry_run)
        if rule is not None:
            return Refused(rule, known)
        is_decided = dry_run or request.force or device is not None or not _has_record(responder)
        return Claimed(responder, known) if is_decided else NeedsDevice(responder)
    if rule := rails.broken_by_request(tenant_id, alert):
        return Refused(rule, known)
    can_ask = device is None and not dry_run and responder.credentials is not None
    if can_ask and rails.needs_device(tenant_id, alert):
        return NeedsDevice(responder)
    target = device or _assumed_device(request.host, alert)
    rule = rails.broken_by_device(tenant_id, target, alert) or rails.broken_by_limit(tenant_id)
    if rule is not None:
        return Refused(rule, known, find_named(connection, rule, tenant_id, vendor, target))
    rails.note_begun(tenant_id)
    return Claimed(responder, known)


def find_known(rails: GuardRails, request: ContainmentRequest, responder: Responder) -> Known:
    """Return what Vyrox knows about `request` without a request to the vendor."""
    tenant_id, alert = request.tenant_id, responder.alert
    per_hour = rails.of(tenant_id).per_hour
    return Known(
        alert_known=alert is not None,
        alert_device=None if alert is None else alert.device_id,
        alert_host=None if alert is None else alert.hostname,
        guard_rails=_verdict(rails, request, alert),
        per_hour=per_hour or None,
        begun_in_hour=rails.begun_in_hour(tenant_id) if per_hour else None,
        vendor=responder.vendor,
        credentials_stored=responder.credentials is not None,
    )


def _verdict(rails: GuardRails, request: ContainmentRequest, alert: NormalizedAlert | None) -> str:
    """Return the rule that refuses the alert's own host, or that the host is allowed."""
    tenant_id = request.tenant_id
    if request.action_type in _LIFTS:
        return rails.broken_by_lift(tenant_id) or "allowed"
    rule = rails.broken_by_request(tenant_id, alert) or rails.broken_by_device(
        tenant_id, _named_by(alert, request.host), alert
    )
    if rule is not None:
        return rule
    is_known = {
        "device": alert is not None and bool(alert.device_id),
        "host": alert is not None and bool(alert.hostname),
    }
    kinds = {rule.partition(":")[0] for rule in rails.of(tenant_id).never_contain}
    open_ones = [_UNKNOWN[kind] for kind in _UNKNOWN if kind in kinds and not is_known.get(kind)]
    if not open_ones:
        return "allowed"
    verb = "is" if open_ones in (["id"], ["name"]) else "are"
    return f"allowed, if its {' and '.join(open_ones)} at the vendor {verb} not in the list"


def _broken_by_lift(
    connection: Connection,
    rails: GuardRails,
    request: ContainmentRequest,
    responder: Responder,
    device: Device | None,
    *,
    dry_run: bool,
) -> str | None:
    tenant_id, vendor = request.tenant_id, responder.vendor
    rule = rails.broken_by_lift(tenant_id)
    if rule is not None or dry_run or request.force:
        return rule
    if not contained.is_host_contained(connection, tenant_id, vendor, request.host):
        return "not contained by vyrox"
    if device is not None and contained.is_contained_by_others(
        connection, tenant_id, vendor, device
    ):
        return "contained by others"
    return None


def _has_record(responder: Responder) -> bool:
    """Return whether the vendor's record shows which clients contain a device."""
    return responder.credentials is not None and records_containment(responder.credentials.vendor)


def _assumed_device(host: str, alert: NormalizedAlert | None) -> Device:
    """Return the device that `host` names, as far as Vyrox knows."""
    device = _assumed(host, host)
    return _named_by(alert, host) if is_of_alert(device, alert) else device


def _named_by(alert: NormalizedAlert | None, host: str) -> Device:
    """Return the device that `alert` names. Members that it lacks are replaced by `host`."""
    if alert is None:
        return _assumed(host, host)
    device_id = alert.device_id or alert.hostname or host
    return _assumed(device_id, alert.hostname or device_id)


def _assumed(device_id: str, name: str) -> Device:
    # Only the vendor knows the tags. It was asked if a rule needs them and something is sent.
    return Device(device_id, name, ())
