"""From the quorum to the one execution of a proposal (contract 62, A10 to A12).

The execution goes the way of `/execute`: guard rails, claim, entry, vendor, confirmation. The
transaction of the claim also uses the proposal up. So a kill at any step leaves a proposal that is
approved, and may still be carried out within its time, or one that never acts again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from vyrox import log
from vyrox.approvals import events, lease_rows, rows
from vyrox.approvals.approvers import standing
from vyrox.approvals.deciding import counting, is_quorum
from vyrox.approvals.proposal import Process, Proposal, canonical, digest
from vyrox.approvals.proposing import is_long
from vyrox.approvals.rows import StoredDecision, StoredProposal
from vyrox.approvals.rules import FOUR_EYES, list_rules, needs_two
from vyrox.approvals.states import DISPATCH_S
from vyrox.chain.entry import Draft
from vyrox.chain.writer import append
from vyrox.clock import Clock
from vyrox.containment.attempt import DeviceLease, Sent
from vyrox.containment.execution import Containment
from vyrox.errors import (
    ActionNotSupportedError,
    InFlightError,
    NotPossibleError,
    RefusedByPolicyError,
    RequestReusedError,
    UnavailableError,
    VendorError,
    VendorLookUpError,
)
from vyrox.ids import new_id
from vyrox.models import ContainmentRequest, Device, NormalizedAlert, normal_host
from vyrox.store.database import Database
from vyrox.store.locks import lock
from vyrox.tenants.device_rules import is_same_name

_NOT_BEGUN = (
    NotPossibleError,
    RefusedByPolicyError,
    ActionNotSupportedError,
    RequestReusedError,
    VendorLookUpError,
)
"""Nothing was claimed, and a retry would end the same way."""


class ApprovedProposal:
    """A proposal that has its quorum, as `containment` asks it. See `attempt.Approval`."""

    def __init__(self, tenant_id: str, proposal_id: str, approved_at: float) -> None:
        self._tenant_id = tenant_id
        self._id = proposal_id
        self.until = approved_at + DISPATCH_S

    def find_objection(
        self, connection: Connection, sent: Sent, now: float, *, is_begun: bool
    ) -> str | None:
        """Return why `sent` is not what was approved, or may not be sent any more (A11)."""
        stored = rows.require(connection, self._tenant_id, self._id)
        state = stored.state_at(now)
        if state != ("dispatched" if is_begun else "approved"):
            return f"the proposal is {state}"
        if now >= self.until:
            return "the approval has expired"
        try:
            proposal = stored.proposal
        except ValueError as exc:
            return str(exc)
        if digest_of_sent(proposal, sent) != stored.sha256:
            return "this is not what was approved"
        return _lost_approval(connection, stored, proposal, sent.device, now)

    def begin(self, connection: Connection, now: float) -> Draft:
        """Make it `dispatched`, for ever. `find_objection` has passed in this transaction."""
        stored = rows.require(connection, self._tenant_id, self._id)
        if not rows.change_state(connection, self._id, "approved", "dispatched", now):
            raise NotPossibleError("the proposal was dispatched before")
        return events.dispatched(stored, _counted(connection, stored))

    def note_device(
        self, connection: Connection, lease: DeviceLease, device: Device, now: float
    ) -> None:
        """Store when the containment ends, if it has an end."""
        stored = rows.require(connection, self._tenant_id, self._id)
        proposal = stored.proposal
        if proposal.lease_s:
            lease_rows.insert(connection, proposal, stored.sha256, lease, device, now)


def digest_of_sent(proposal: Proposal, sent: Sent) -> str:
    """Return the digest that the proposal would have if it asked for what is sent (A11)."""
    if sent.vendor is None:
        return ""
    request = sent.request
    asked = msgspec.structs.replace(
        proposal,
        id=request.request_id,
        tenant_id=request.tenant_id,
        alert_id=request.alert_id,
        vendor=sent.vendor,
        action_type=request.action_type,
        host=_host(request.host, sent.device),
        hostname=_hostname(proposal.hostname, sent.device),
        process=_process(request, sent.alert),
    )
    return digest(canonical(asked))


def _host(host: str, device: Device | None) -> str:
    """Return `host` if it names the device, else the device's id."""
    if device is None or normal_host(host) == normal_host(device.id):
        return host
    return host if device.hostname and is_same_name(host, device.hostname) else device.id


def _hostname(name: str | None, device: Device | None) -> str | None:
    """Return `name` if it is the device's, else what the device is called."""
    if name is None or device is None:
        return name
    return name if device.hostname and is_same_name(name, device.hostname) else device.hostname


def _process(request: ContainmentRequest, alert: NormalizedAlert | None) -> Process | None:
    if request.action_type != "PROCESS_KILL" or alert is None or not alert.process_name:
        return None
    return Process(alert.process_name)


def _lost_approval(
    connection: Connection,
    stored: StoredProposal,
    proposal: Proposal,
    device: Device | None,
    now: float,
) -> str | None:
    """Return why the decisions do not suffice any more, or None."""
    rules = list_rules(connection, stored.tenant_id)
    means = standing(connection, stored.tenant_id)
    decided = rows.decisions_on(connection, stored.id)
    if not is_quorum(proposal, decided, means, has_four_eyes=FOUR_EYES in rules):
        return "too few of those who approved may still decide"
    if device is None or proposal.vendor is None or proposal.required >= 2:
        return None
    if needs_two(rules, device):
        return "two persons are needed for this device"
    since = lease_rows.since_of_device(
        connection, stored.tenant_id, proposal.vendor, device.id, but=stored.id
    )
    if since is not None and is_long(
        proposal.action_type, proposal.lease_s, now + proposal.lease_s - since
    ):
        return "two persons are needed for more than 24 h in all"
    return None


def _counted(connection: Connection, stored: StoredProposal) -> list[StoredDecision]:
    has_four_eyes = FOUR_EYES in list_rules(connection, stored.tenant_id)
    return counting(
        stored.proposal,
        rows.decisions_on(connection, stored.id),
        standing(connection, stored.tenant_id),
        has_four_eyes=has_four_eyes,
    )


def request_of(stored: StoredProposal, decided: Sequence[StoredDecision]) -> ContainmentRequest:
    """Return the request that carries a proposal out (A35). Raises ValueError for a drill."""
    proposal = stored.proposal
    if proposal.action_type == "DRILL":
        raise ValueError("a drill is not carried out")
    names = "+".join(each.approver for each in decided)
    return ContainmentRequest(
        request_id=proposal.id,
        tenant_id=proposal.tenant_id,
        alert_id=proposal.alert_id,
        action_type=proposal.action_type,
        host=proposal.host,
        approved_by=f"{names} sha256:{stored.sha256}",
        approved_at=int(stored.approved_at or 0),
    )


def find_due(
    connection: Connection, now: float
) -> tuple[list[tuple[StoredProposal, ContainmentRequest]], bool]:
    """Return what may be dispatched now, with its request, and whether something is overdue."""
    due, is_overdue = [], False
    for stored in rows.find_approved_or_over(connection, now):
        if stored.state_at(now) != "approved":
            is_overdue = True
            continue
        try:
            due.append((stored, request_of(stored, _counted(connection, stored))))
        except ValueError as exc:  # its text was changed in the database
            log.event(
                "approval.unreadable",
                logging.ERROR,
                tenant=stored.tenant_id,
                proposal=stored.id,
                reason=str(exc),
            )
    return due, is_overdue


def end_overdue(connection: Connection, now: float) -> None:
    """Store, with their events, the ends that time has brought. They are in force without it."""
    lock(connection, "containments")
    for stored in rows.find_approved_or_over(connection, now):
        state = stored.state_at(now)
        if state in {"expired", "lapsed"}:
            rows.change_state(connection, stored.id, stored.stored_state, state, now)
            append(connection, [events.ended(stored, state, None)], now)


def lapse(connection: Connection, tenant_id: str, proposal_id: str, why: str, now: float) -> None:
    """End an approved proposal that cannot be carried out, with its event."""
    lock(connection, "containments")
    stored = rows.require(connection, tenant_id, proposal_id)
    if rows.change_state(connection, proposal_id, "approved", "lapsed", now, why):
        append(connection, [events.ended(stored, "lapsed", why)], now)


class Dispatcher:
    """Carries out approved proposals, each once. `run` must be called often."""

    def __init__(
        self,
        database: Database,
        containment: Containment,
        check_clocks: Callable[[], None],
        now: Clock,
    ) -> None:
        """Create it.

        Args:
            check_clocks: Raises UnavailableError if the clocks cannot be trusted.
            now: The clock of leases.
        """
        self._database = database
        self._containment = containment
        self._check_clocks = check_clocks
        self._now = now
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_stopping = False
        self.noticed = asyncio.Event()
        """Set when a decision was recorded, so that `run` is called at once."""

    async def run(self) -> None:
        """Begin what is due, and store what has ended by time.

        Raises:
            UnavailableError: The clocks cannot be trusted, or the database does not respond.
        """
        due, is_overdue = await self._database.read(find_due, self._now())
        if due or is_overdue:
            self._check_clocks()
        for stored, request in due:
            if stored.id not in self._running and not self._is_stopping:
                task = asyncio.create_task(self._dispatch(stored, request))
                self._running[stored.id] = task
                task.add_done_callback(partial(self._forget, stored.id))
        if is_overdue:
            await self._database.write(end_overdue, self._now())

    def _forget(self, proposal_id: str, _task: asyncio.Task[None]) -> None:
        self._running.pop(proposal_id, None)

    async def stop(self) -> None:
        """Begin nothing more. `Containment.drain` waits for what has begun."""
        self._is_stopping = True
        while running := list(self._running.values()):
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def _dispatch(self, stored: StoredProposal, request: ContainmentRequest) -> None:
        assert stored.approved_at is not None  # noqa: S101  (it is approved)
        approval = ApprovedProposal(stored.tenant_id, stored.id, stored.approved_at)
        why: str | None = None
        try:
            executed = await self._containment.execute(request, new_id(), approval)
            if executed.status == "replayed":
                why = "its id was used as a request_id before"
        except _NOT_BEGUN as exc:
            why = f"{exc.detail}: {exc}"
        except (InFlightError, UnavailableError) as exc:
            # Another container has begun it, or a later run tries again while there is time.
            log.event("approval.waits", tenant=stored.tenant_id, reason=str(exc))
        except VendorError as exc:
            # It has begun, so it is used up. The outcome is recorded as that of any action.
            log.event("approval.failed", tenant=stored.tenant_id, reason=str(exc))
        except Exception:  # noqa: BLE001  (logged with its traceback; a later run tries again)
            log.event("approval.error", logging.ERROR, tenant=stored.tenant_id)
        if why is not None:
            await self._lapse(stored, why)

    async def _lapse(self, stored: StoredProposal, why: str) -> None:
        try:
            await self._database.write(lapse, stored.tenant_id, stored.id, why, self._now())
        except UnavailableError as exc:
            log.event("approval.waits", tenant=stored.tenant_id, reason=str(exc))
