"""Lifts containments at their end, as it was approved with them (contract 68, A19).

A lift goes the way of `/execute`: guard rails, claim, entry, vendor, confirmation. Each attempt has
an id of its own, which follows from the proposal and the number of the attempt. An attempt is
reserved in the database, so no two containers begin the same one.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy import Connection

from vyrox import log
from vyrox.approvals import lease_changes, lease_rows
from vyrox.approvals.events import draft
from vyrox.approvals.lease_rows import Lease
from vyrox.approvals.states import DISPATCH_S
from vyrox.chain.entry import Draft
from vyrox.clock import Clock
from vyrox.containment.attempt import DeviceLease, Sent
from vyrox.containment.contained import is_device_contained
from vyrox.containment.execution import Containment
from vyrox.errors import UnavailableError, VyroxError
from vyrox.ids import new_id
from vyrox.models import ActionType, ContainmentRequest, Device, LiftType, normal_host
from vyrox.notify.messages import clean
from vyrox.store.database import Database

MAX_LIFTS: Final = 16
"""Lifts that run at the same time in one container."""

LIFTS: Final[dict[ActionType, LiftType]] = {
    "HOST_ISOLATION": "LIFT_HOST_ISOLATION",
    "NETWORK_QUARANTINE": "LIFT_NETWORK_QUARANTINE",
}
"""What undoes a containment."""

BY_OTHERS: Final = "contained by others"
"""The rule that refuses a lift because an analyst contained the device too (contract 34)."""

_LEVELS: Final = {
    "lease.mended": logging.WARNING,
    "lease.waiting": logging.WARNING,
    "lease.failed": logging.ERROR,
}
_LOGGED: Final = {
    "mend": "lease.mended",
    "over": "lease.ended",
    "ask": "lease.ending",
    "postpone": "lease.postponed",
    "wait": "lease.waiting",
}


class LeaseEnd:
    """The end of a lease, as `containment` asks it. See `attempt.Approval`."""

    def __init__(self, lease: Lease, until: float) -> None:
        self._lease = lease
        self.until = until

    def find_objection(
        self,
        connection: Connection,
        sent: Sent,
        now: float,
        *,
        is_begun: bool,  # noqa: ARG002  (all is checked again each time)
    ) -> str | None:
        """Return why the device may not be lifted by the lease, or not any more."""
        lease = lease_rows.find(connection, self._lease.proposal_id)
        if lease is None:
            return "the lease is over"
        if now < lease.ends_at:
            return "the end of the lease was moved"
        if now >= self.until:
            return "the time of this attempt is over"
        if lease_changes.is_renewed(connection, lease):
            return "a later containment of the device is in progress"
        if not is_device_contained(connection, lease.tenant_id, lease.vendor, lease.device_id):
            return "Vyrox has not contained this device"
        return None if _is_of(lease, sent) else "this is not what the lease is of"

    def begin(self, connection: Connection, now: float) -> Draft:  # noqa: ARG002
        """Return the event of the attempt, which names the hash of the action's entry."""
        lease = self._lease
        event = draft(
            "lease.lifting",
            lease.tenant_id,
            None,
            proposal_id=lease.proposal_id,
            device_id=lease.device_id,
            attempt=lease.attempts,
        )
        return Draft(event.tenant_id, event.stream, event.kind, event.members, "action_hash")

    def note_device(
        self, connection: Connection, lease: DeviceLease, device: Device, now: float
    ) -> None:
        """Store nothing: the lease knows its device."""


def _is_of(lease: Lease, sent: Sent) -> bool:
    request, device = sent.request, sent.device
    is_same_device = device is None or normal_host(device.id) == normal_host(lease.device_id)
    return is_same_device and (request.tenant_id, sent.vendor, request.host) == (
        lease.tenant_id,
        lease.vendor,
        lease.device_id,
    )


def request_of(lease: Lease, now: float) -> ContainmentRequest:
    """Return the request of an attempt at the lift. Only this attempt has its id."""
    return ContainmentRequest(
        request_id=str(uuid5(UUID(lease.proposal_id), f"lift {lease.attempts}")),
        tenant_id=lease.tenant_id,
        alert_id=lease.alert_id.decode(),
        action_type=LIFTS[lease.action_type],
        host=lease.device_id,
        approved_by=f"lease {lease.sha256}",
        approved_at=int(now),
    )


class Leases:
    """Asks, postpones and lifts when it is time. `run` must be called often."""

    def __init__(
        self,
        database: Database,
        containment: Containment,
        check_clocks: Callable[[], None],
        now: Clock,
        attempt_s: float,
    ) -> None:
        """Create it.

        Args:
            check_clocks: Raises UnavailableError if the clocks cannot be trusted.
            now: The clock of leases.
            attempt_s: How long an attempt may take. Its end may be lost in a crash.
        """
        self._database = database
        self._containment = containment
        self._check_clocks = check_clocks
        self._now = now
        self._attempt_s = attempt_s
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_stopping = False

    async def run(self) -> None:
        """Take each step that is due, and begin lifts.

        Raises:
            UnavailableError: The clocks cannot be trusted, or the database does not respond.
        """
        due = await self._database.read(lease_changes.find_due, self._now())
        if due:
            self._check_clocks()
        for proposal_id in due:
            if self._is_stopping or len(self._running) >= MAX_LIFTS:
                return
            if proposal_id not in self._running:
                await self._try_step(proposal_id)

    async def stop(self) -> None:
        """Begin nothing more. `Containment.drain` waits for what has begun."""
        self._is_stopping = True
        while running := list(self._running.values()):
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def _try_step(self, proposal_id: str) -> None:
        """Take a step. A lease that fails holds up no other one."""
        try:
            await self._step(proposal_id)
        except UnavailableError:
            raise
        except Exception:  # noqa: BLE001  (logged with its traceback, and tried again)
            log.event("lease.error", logging.ERROR, proposal=proposal_id)

    async def _step(self, proposal_id: str) -> None:
        taken = await self._database.write(
            lease_changes.take_step, proposal_id, self._now(), self._attempt_s
        )
        if taken is None:
            return
        if taken.step == "lift":
            task = asyncio.create_task(self._lift(taken.lease))
            self._running[proposal_id] = task
            task.add_done_callback(partial(self._forget, proposal_id))
        else:
            _log(_LOGGED[taken.step], taken.lease, taken.reason)

    def _forget(self, proposal_id: str, _task: asyncio.Task[None]) -> None:
        self._running.pop(proposal_id, None)

    async def _lift(self, lease: Lease) -> None:
        try:
            error = await self._try_to_lift(lease)
            if error == BY_OTHERS:
                await self._abandon(lease)
            else:
                await self._settle(lease, error)
        except UnavailableError as exc:
            # How the attempt ended is not recorded. Its reservation ends by itself.
            log.event("lease.unrecorded", logging.ERROR, tenant=lease.tenant_id, reason=str(exc))
        except Exception:  # noqa: BLE001  (logged with its traceback, and tried again)
            log.event("lease.error", logging.ERROR, proposal=lease.proposal_id)

    async def _try_to_lift(self, lease: Lease) -> str | None:
        """Return why the vendor has not accepted the lift, or None."""
        now = self._now()
        end = LeaseEnd(lease, now + DISPATCH_S)
        try:
            executed = await self._containment.execute(request_of(lease, now), new_id(), end)
        except VyroxError as exc:
            # A vendor's text may hold what the database cannot store.
            return clean(str(exc))
        except Exception as exc:  # noqa: BLE001  (logged with its traceback, and tried again)
            log.event("lease.error", logging.ERROR, proposal=lease.proposal_id)
            return type(exc).__name__
        return "DRY_RUN is on: nothing was sent" if executed.dry_run else None

    async def _abandon(self, lease: Lease) -> None:
        await self._database.write(lease_changes.abandon, lease.proposal_id, BY_OTHERS, self._now())
        _log("lease.failed", lease, BY_OTHERS)

    async def _settle(self, lease: Lease, error: str | None) -> None:
        is_alarmed = await self._database.write(
            lease_changes.settle_attempt,
            lease.proposal_id,
            lease.attempts,
            error,
            self._now(),
        )
        if is_alarmed:
            _log("lease.failed", lease, error)


def _log(kind: str, lease: Lease, reason: str | None) -> None:
    log.event(
        kind,
        _LEVELS.get(kind, logging.INFO),
        tenant=lease.tenant_id,
        device=lease.device_id,
        proposal=lease.proposal_id,
        ends_at=lease.ends_at,
        attempts=lease.attempts,
        reason=reason,
    )
