"""Whether a changing call may be sent to the vendor now (contract 42).

Minutes can pass between a claim and the call that carries it out: a 429, a slow lookup, a session
on a slow host, a suspended machine. So the conditions of the claim are checked again before each
attempt of a call. Only `edr.transport.calls` sends calls, and it runs this check.
"""

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection

from vyrox.clock import Clock
from vyrox.containment import devices
from vyrox.containment.attempt import ClaimedAttempt, DeviceLease, Sent
from vyrox.errors import VendorError
from vyrox.models import Device
from vyrox.store.database import Database
from vyrox.tenants import device_names
from vyrox.tenants.device_names import Named, find_named
from vyrox.tenants.guard_rails import GuardRails

CheckClock = Callable[[float, float], None]
"""Takes `approved_at` and until when a call may be sent. Raises VendorError if either is over."""


class _Objection(msgspec.Struct, frozen=True):
    rule: str
    named: Named | None = None


class OrderCheck:
    """Checks one order: freeze and guard rails, the lease of the device, and the clock.

    Attributes:
        has_passed: Whether a changing call may have been sent.
        is_unreadable: Whether the last check failed because the database does not respond.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        check_clock: CheckClock,
        claimed: ClaimedAttempt,
        device: Device,
        lease: DeviceLease,
    ) -> None:
        self._database = database
        self._clock = clock
        self._check_clock = check_clock
        self._claimed = claimed
        self._device = device
        self._lease = lease
        self.has_passed = False
        self.is_unreadable = False

    async def check(self) -> None:
        """Return if a changing call may be sent now.

        Raises:
            VendorError: A guard rail or another action forbids it now, or the lease has expired.
            UnavailableError: The database does not respond.
        """
        attempt = self._claimed.attempt
        self.is_unreadable = True
        objection = await self._database.read(self._find_objection, self._clock())
        self.is_unreadable = False
        if objection is not None:
            if objection.named is not None:
                device_names.warn(self._lease.tenant_id, objection.rule, objection.named)
            raise VendorError(f"{objection.rule}; nothing was sent")
        self._check_clock(attempt.request.approved_at, attempt.send_until)
        self.has_passed = True

    def _find_objection(self, connection: Connection, now: float) -> _Objection | None:
        tenant_id = self._lease.tenant_id
        if not devices.is_leased(connection, self._lease, self._claimed.attempt.owner):
            return _Objection("another action has leased the device")
        if (reason := self._disapproved(connection, now)) is not None:
            return _Objection(reason)
        rule = self._broken_rule(GuardRails(connection, [tenant_id], now))
        if rule is None:
            return None
        named = find_named(connection, rule, tenant_id, self._lease.vendor, self._device)
        return _Objection("the tenant has been frozen" if rule == "frozen" else rule, named)

    def _disapproved(self, connection: Connection, now: float) -> str | None:
        """Return why the proposal, if there is one, does not allow what would be sent now."""
        attempt = self._claimed.attempt
        if attempt.approval is None:
            return None
        alert = self._claimed.responder.alert
        sent = Sent(attempt.request, self._lease.vendor, self._device, alert)
        return attempt.approval.find_objection(connection, sent, now, is_begun=True)

    def _broken_rule(self, rails: GuardRails) -> str | None:
        tenant_id, alert = self._lease.tenant_id, self._claimed.responder.alert
        if self._lease.target == "lifted":
            return rails.broken_by_lift(tenant_id)
        return rails.broken_by_request(tenant_id, alert) or rails.broken_by_device(
            tenant_id, self._device, alert
        )
