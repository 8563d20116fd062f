"""Whether a changing call may leave for the vendor now (contract 42).

Minutes can lie between a claim and the call that carries it out: a 429, a slow look-up, a session
on a slow host, a suspended machine. So what was true for the claim is read again before each
attempt, by `edr.calls`, which is the one place where a call leaves.
"""

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection

from vyrox.clock import Clock
from vyrox.containment import devices
from vyrox.containment.attempt import Attempt
from vyrox.containment.devices import DeviceLease
from vyrox.errors import VendorError
from vyrox.models import Device, NormalizedAlert
from vyrox.store.database import Database
from vyrox.tenants import device_names
from vyrox.tenants.device_names import Named, find_named
from vyrox.tenants.guard_rails import GuardRails

CheckClock = Callable[[float, float], None]
"""Takes `approved_at` and the end of the lease. Raises VendorError if either is over."""


class _Attempt(msgspec.Struct, frozen=True):
    claim: Attempt
    held: DeviceLease
    device: Device
    alert: NormalizedAlert | None


class _Barred(msgspec.Struct, frozen=True):
    rule: str
    named: Named | None = None


class OrderCheck:
    """Checks one order: freeze and guard rails, the lease of the device, and the clock.

    Attributes:
        has_passed: Whether a changing call may have left.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        check_clock: CheckClock,
        claim: Attempt,
        held: DeviceLease,
        device: Device,
        alert: NormalizedAlert | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._check_clock = check_clock
        self._attempt = _Attempt(claim, held, device, alert)
        self.has_passed = False

    async def check(self) -> None:
        """Return if a changing call may leave now.

        Raises:
            VendorError: Something has come to stand against it.
            UnavailableError: The database does not answer.
        """
        claim = self._attempt.claim
        barred = await self._database.read(_find_barred, self._attempt, self._clock())
        if barred is not None:
            if barred.named is not None:
                device_names.warn(claim.request.tenant_id, barred.rule, barred.named)
            raise VendorError(f"{barred.rule}; nothing was sent")
        self._check_clock(claim.request.approved_at, claim.now + claim.lease_s)
        self.has_passed = True


def _find_barred(connection: Connection, attempt: _Attempt, now: float) -> _Barred | None:
    claim, held = attempt.claim, attempt.held
    tenant_id = claim.request.tenant_id
    if not devices.is_held(connection, held, claim.owner):
        return _Barred("another action has the device by now")
    rails = GuardRails(connection, [tenant_id], now)
    if held.target == "lifted":
        rule = rails.broken_by_lift(tenant_id)
    else:
        rule = rails.broken_by_request(tenant_id, attempt.alert) or rails.broken_by_device(
            tenant_id, attempt.device, attempt.alert
        )
    if rule is None:
        return None
    named = find_named(connection, rule, tenant_id, held.vendor, attempt.device)
    return _Barred("the tenant has been frozen" if rule == "frozen" else rule, named)
