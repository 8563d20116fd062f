"""The vendor's part of a claimed attempt (contract 22, 25, 36 and 37).

Find the device, lease it, and have the vendor act on it.
"""

import asyncio
import logging
from typing import Final

import msgspec

from vyrox import log
from vyrox.chain.writer import ChainWriter
from vyrox.clock import Clock
from vyrox.containment import devices
from vyrox.containment.attempt import AttemptResult, ClaimedAttempt, DeviceLease, Sent
from vyrox.containment.devices import Blocked, LeaseRequest
from vyrox.containment.order_check import CheckClock, OrderCheck
from vyrox.containment.responder import EdrClients, Responder
from vyrox.edr.actions import call_of, comment_start, target_of
from vyrox.edr.client import ActionResult, Deadline, Order, VendorClient
from vyrox.errors import (
    UnavailableError,
    VendorError,
    VendorLookUpError,
    VendorOutcomeUnknownError,
)
from vyrox.models import ContainmentRequest, Device
from vyrox.store.database import Database

CLIENT_GRACE_S: Final = 12.0
"""How long a vendor's client may run on after its deadline. It needs the time to clean up: 5 s to
end a Real Time Response session, and 5 s to delete a queued command."""

LEASE_MARGIN_S: Final = 30
"""How much longer a lease is than the action: time for the commits before and after it."""

ACQUIRE_TIMEOUT_S: Final = 5.0
"""For one commit that leases a device."""

DEVICE_RETRY_S: Final = 0.2
"""Time between two attempts to lease a device that another action has leased."""

_UNCHANGED: Final = {
    True: "the device was in this state already; nothing was sent",
    False: "the vendor had this in progress already; nothing was changed",
}
"""Why nothing was changed, by whether the device is in the target state."""


def lease_s(deadline_s: float) -> float:
    """Return the length of the leases of a claim and of a device: longer than `deadline_s`."""
    return deadline_s + CLIENT_GRACE_S + LEASE_MARGIN_S


class VendorAction:
    """Acts at the vendors, for attempts that are claimed."""

    def __init__(
        self,
        writer: ChainWriter,
        database: Database,
        clients: EdrClients,
        clock: Clock,
        check_clock: CheckClock,
    ) -> None:
        """See `Containment`."""
        self._writer = writer
        self._database = database
        self._clients = clients
        self._clock = clock
        self._check_clock = check_clock

    async def look_up(
        self, responder: Responder, request: ContainmentRequest, deadline: Deadline
    ) -> Device:
        """Ask the vendor which device `request` means. For a lift, also what contains it.

        Raises:
            VendorLookUpError: The vendor did not say, or not in time. Nothing was claimed.
        """
        try:
            device = await self._find_device(responder, request.host, deadline)
            if target_of(request.action_type) != "lifted":
                return device
            async with asyncio.timeout(deadline.remaining_s() + CLIENT_GRACE_S):
                contained_by = await self._client(responder).read_containment(device.id, deadline)
            return msgspec.structs.replace(device, contained_by=contained_by)
        except VendorError as exc:
            raise VendorLookUpError(str(exc)) from exc
        except TimeoutError as exc:
            raise VendorLookUpError("no response in time about the containment") from exc

    async def act(self, claimed: ClaimedAttempt) -> tuple[AttemptResult, Exception | None]:
        """Have the vendor act. Return the result to record, and the error for the caller."""
        attempt = claimed.attempt
        lease: DeviceLease | None = None
        try:
            device = attempt.device or await self._find_device(
                claimed.responder, attempt.request.host, claimed.deadline
            )
            lease = await self._acquire(claimed, device)
            done = await self._call(claimed, device, lease)
        except (VendorError, UnavailableError) as exc:
            return self._failure(claimed, exc, lease), exc
        except Exception as exc:  # noqa: BLE001  (raised again once the result is recorded)
            # A mistake in Vyrox. It happened before `_call`, which raises only the errors above.
            result = AttemptResult(
                attempt,
                claimed.receipt.hash,
                "failed",
                self._clock(),
                f"{type(exc).__name__}; nothing was sent",
                lease,
            )
            return result, exc
        log.event(
            "execute.vendor_answered",
            request_id=attempt.trace_id,
            tenant=attempt.request.tenant_id,
            call=call_of(lease.vendor, lease.target),
            device=device.id,
            confirmed=done.confirmed,
            changed=done.changed,
        )
        return self._success(claimed, done, lease), None

    def _failure(
        self, claimed: ClaimedAttempt, error: Exception, lease: DeviceLease | None
    ) -> AttemptResult:
        unknown = isinstance(error, VendorOutcomeUnknownError)
        return AttemptResult(
            claimed.attempt,
            claimed.receipt.hash,
            "outcome_unknown" if unknown else "failed",
            self._clock(),
            str(error),
            lease,
            changed=unknown,
        )

    def _success(
        self, claimed: ClaimedAttempt, done: ActionResult, lease: DeviceLease
    ) -> AttemptResult:
        return AttemptResult(
            claimed.attempt,
            claimed.receipt.hash,
            "confirmed" if done.confirmed else "requested",
            self._clock(),
            None if done.changed else _UNCHANGED[done.confirmed],
            lease,
            done.reference,
            done.changed,
        )

    def _client(self, responder: Responder) -> VendorClient:
        if responder.credentials is None:
            raise VendorError("the tenant has no vendor credentials")
        return self._clients.client(responder.credentials)

    async def _find_device(self, responder: Responder, host: str, deadline: Deadline) -> Device:
        client = self._client(responder)
        known_id = None if responder.alert is None else responder.alert.device_id
        try:
            async with asyncio.timeout(deadline.remaining_s() + CLIENT_GRACE_S):
                return await client.find_device(host, deadline, known_id)
        except TimeoutError as exc:
            raise VendorError("no response in time about the device; nothing was sent") from exc

    async def _acquire(self, claimed: ClaimedAttempt, device: Device) -> DeviceLease:
        """Lease the device, as soon as no other action in any container leases it."""
        while True:
            lease = await self._try_to_acquire(self._lease_request(claimed, device))
            if isinstance(lease, Blocked):
                raise VendorError(f"{lease.why}; nothing was sent")
            if lease is not None:
                return lease
            if claimed.deadline.remaining_s() == 0:
                raise VendorError("another action is running on the device; nothing was sent")
            await asyncio.sleep(DEVICE_RETRY_S)

    async def _try_to_acquire(self, request: LeaseRequest) -> DeviceLease | Blocked | None:
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                committed = await self._writer.commit(
                    devices.acquire, request, owner=request.tenant_id
                )
        except TimeoutError as exc:
            raise UnavailableError("the device could not be leased in time") from exc
        return committed.result

    def _lease_request(self, claimed: ClaimedAttempt, device: Device) -> LeaseRequest:
        attempt, request = claimed.attempt, claimed.attempt.request
        vendor = claimed.responder.vendor
        assert vendor is not None  # noqa: S101  (there are credentials for it)
        sent = Sent(request, vendor, device, claimed.responder.alert)
        now = self._clock()
        return LeaseRequest(
            tenant_id=request.tenant_id,
            vendor=vendor,
            device=device,
            request_id=request.request_id,
            owner=attempt.owner,
            entry_hash=claimed.receipt.hash,
            target=target_of(request.action_type),
            lease_until=now + attempt.lease_s,
            now=now,
            lift_any=request.force,
            approved=None if attempt.approval is None else (attempt.approval, sent),
        )

    async def _call(
        self, claimed: ClaimedAttempt, device: Device, lease: DeviceLease
    ) -> ActionResult:
        check = OrderCheck(self._database, self._clock, self._check_clock, claimed, device, lease)
        request, deadline = claimed.attempt.request, claimed.deadline
        comment = f"{comment_start(request.request_id)}, approved by {request.approved_by}"
        order = Order(device, comment, claimed.receipt, deadline, check.check)
        client, alert = self._client(claimed.responder), claimed.responder.alert
        remaining_s = deadline.remaining_s()
        try:
            # A client ends by itself at the deadline. This timeout is for a client that does not.
            async with asyncio.timeout(remaining_s + CLIENT_GRACE_S):
                if lease.target != "killed":
                    return await client.change(lease.target, order)
                assert alert is not None  # noqa: S101  (a kill needs one)
                return await client.kill(order, alert)
        except VendorOutcomeUnknownError:
            raise
        except VendorError as exc:
            if check.is_unreadable:
                # Not the vendor's fault: 500, as whenever the database does not respond.
                raise UnavailableError(str(exc)) from exc
            raise
        except TimeoutError as exc:
            raise _interrupted(
                check, "no response before the deadline (EDR_DEADLINE_SECONDS)"
            ) from exc
        except Exception as exc:
            # A mistake in the client.
            log.event(
                "execute.vendor_failed",
                logging.ERROR,
                request_id=claimed.attempt.trace_id,
                tenant=request.tenant_id,
                entry=claimed.receipt.hash,
            )
            raise _interrupted(check, f"{type(exc).__name__} in the client") from exc


def _interrupted(check: OrderCheck, why: str) -> VendorError:
    """Return the error of a client that was stopped, or has failed, before it returned."""
    if check.has_passed:
        return VendorOutcomeUnknownError(why)
    return VendorError(f"{why}; nothing was sent")
