"""Carry out an approved action: claim and entry, vendor, record (contract 19, 22 to 25, 27, 36).

From the claim on, the work is a task of its own. A caller that hangs up, a timeout and a shutdown
lose its answer and nothing else: none of them can leave an action without its outcome.
"""

import asyncio
import logging
import secrets
from typing import Final, Literal

import msgspec

from vyrox import log
from vyrox.chain.entry import Receipt
from vyrox.chain.writer import ChainWriter, Committed
from vyrox.clock import Clock
from vyrox.containment import admission, claims, devices
from vyrox.containment.attempt import Attempt, AttemptResult, Outcome
from vyrox.containment.devices import Blocked, DeviceLease, LeaseRequest
from vyrox.containment.order_check import CheckClock, OrderCheck
from vyrox.containment.responder import EdrClients, Responder
from vyrox.edr.actions import call_of, comment_start, target_of
from vyrox.edr.client import ActionResult, Deadline, Order, VendorClient
from vyrox.errors import (
    ActionNotSupportedError,
    InFlightError,
    OverloadedError,
    RefusedByPolicyError,
    RequestReusedError,
    UnavailableError,
    VendorError,
    VendorLookUpError,
    VendorOutcomeUnknownError,
)
from vyrox.models import ContainmentRequest, Device
from vyrox.store.database import Database
from vyrox.tenants import device_names

COMMIT_TIMEOUT_S: Final = 5.0
"""For the claim and its entry: beyond it the vendor is not called, whatever is committed later. And
for the record of what came of it: beyond it the caller is answered, and it is recorded later."""

RETRY_S: Final = 1.0
"""Between two attempts to record what could not be recorded at once."""

DEVICE_RETRY_S: Final = 0.2
"""Between two attempts to get hold of a device that another action is at."""

GRACE_S: Final = 12.0
"""For a client to give up by itself when its deadline is over, and to clean up at the vendor: to
end a Real Time Response session, and to take back a queued command, it has 5 s each."""


_UNCHANGED: Final = {
    True: "the device was in this state already; nothing was sent",
    False: "the vendor had this in progress already; nothing was changed",
}
"""By whether the device is in the state that was asked for: why nothing was changed."""


def lease_s(deadline_s: float) -> float:
    """Return how long the lease of a claim and of a device is; it outlasts `deadline_s`."""
    return deadline_s + GRACE_S + claims.LEASE_MARGIN_S


class Executed(msgspec.Struct, frozen=True):
    """The answer of `/execute` and `/lift`."""

    status: Literal["executed", "dry_run", "replayed"]
    dry_run: bool


class Containment:
    """Carries out containments and their undoing; `drain` waits for those under way."""

    def __init__(
        self,
        writer: ChainWriter,
        database: Database,
        clients: EdrClients,
        clock: Clock,
        check_clock: CheckClock,
        *,
        dry_run: bool,
        deadline_s: float,
    ) -> None:
        """Create it.

        Args:
            clock: The time by which leases are measured.
            check_clock: Called before each changing call.
            deadline_s: For one whole action at the vendor; the lease of a claim outlasts it.
        """
        self._writer = writer
        self._database = database
        self._clients = clients
        self._clock = clock
        self._check_clock = check_clock
        self._dry_run = dry_run
        self._deadline_s = deadline_s
        self._under_way: set[asyncio.Task[Executed]] = set()
        self._recording_later: set[asyncio.Task[None]] = set()

    async def execute(self, request: ContainmentRequest, trace_id: str) -> Executed:
        """Carry `request` out, unless it was carried out before.

        Args:
            trace_id: The id of the HTTP request, for the events.

        Raises:
            InFlightError: Another attempt is at it.
            RequestReusedError: Its `request_id` stands for something else.
            ActionNotSupportedError: The vendor cannot do it; nothing was written.
            RefusedByPolicyError: A guard rail stands against it; nothing but its event was written.
            UnavailableError: No entry known to be committed, so no action. What is committed all
                the same is an entry with the outcome `failed`, and no claim.
            VendorError: The vendor did not act, or may have; see its subclasses.
        """
        task = asyncio.create_task(self._carry_out(request, trace_id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until everything under way has ended.

        What could not be recorded by then stays claimed until its lease is over.
        """
        while self._under_way:
            await asyncio.wait(self._under_way)
        while self._recording_later:
            for task in self._recording_later:
                task.cancel()
            await asyncio.wait(self._recording_later)

    async def _carry_out(self, request: ContainmentRequest, trace_id: str) -> Executed:
        # 1. The claim and the audit entry, in one transaction, once the guard rails allow it.
        claim = Attempt(
            request=request,
            owner=secrets.token_hex(16),
            trace_id=trace_id,
            dry_run=self._dry_run,
            lease_s=lease_s(self._deadline_s),
            now=self._clock(),
        )
        committed = await self._commit(claim)
        deadline = Deadline(self._deadline_s)
        if isinstance(committed.result, admission.NeedsDevice):
            device = await self._look_up(committed.result.responsible, request, deadline)
            claim = msgspec.structs.replace(claim, device=device, now=self._clock())
            committed = await self._commit(claim)
        if not isinstance(committed.result, admission.Claimed):
            return _answer_unclaimed(request, committed.result)
        receipt = committed.receipts[0]
        # 2. The vendor, or a dry run.
        if self._dry_run:
            known = committed.result.known
            answer = AttemptResult(claim, receipt.hash, "dry_run", self._clock(), known=known)
            error = None
        else:
            answer, error = await self._act(claim, committed.result.responsible, receipt, deadline)
        # 3. What came of it.
        await self._record(answer)
        if error is not None:
            raise error
        return Executed("dry_run" if self._dry_run else "executed", self._dry_run)

    async def _commit(self, claim: Attempt) -> Committed[claims.ClaimResult]:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                return await self._writer.commit(claims.claim, claim, owner=claim.request.tenant_id)
        except OverloadedError:
            raise  # it was not even handed in
        except (TimeoutError, UnavailableError) as exc:
            # It may have been committed, or may yet be. Nobody acts on it, so it is released.
            reason = f"no commit seen: {str(exc) or 'timeout'}"
            self._record_later(AttemptResult(claim, None, "failed", self._clock(), reason))
            raise UnavailableError(reason) from exc

    async def _look_up(
        self, who: Responder, request: ContainmentRequest, deadline: Deadline
    ) -> Device:
        """Ask the vendor which device it is, before anything is claimed.

        And for a lift, which actions contain the device.
        """
        try:
            device = await self._find_device(who, request.host, deadline)
            if target_of(request.action_type) != "lifted":
                return device
            async with asyncio.timeout(deadline.remaining_s() + GRACE_S):
                contained_by = await self._client(who).read_containment(device.id, deadline)
            return msgspec.structs.replace(device, contained_by=contained_by)
        except VendorError as exc:
            raise VendorLookUpError(str(exc)) from exc
        except TimeoutError as exc:
            raise VendorLookUpError("no answer in time about the containment") from exc

    async def _act(
        self, claim: Attempt, who: Responder, receipt: Receipt, deadline: Deadline
    ) -> tuple[AttemptResult, Exception | None]:
        """Have the vendor act; return what is to be recorded, and what the caller is told."""
        request = claim.request
        held: DeviceLease | None = None
        try:
            device = claim.device or await self._find_device(who, request.host, deadline)
            held = await self._hold(claim, who, device, receipt, deadline)
            done = await self._call(claim, who, held, device, receipt, deadline)
        except (VendorError, UnavailableError) as exc:
            unknown = isinstance(exc, VendorOutcomeUnknownError)
            outcome: Outcome = "outcome_unknown" if unknown else "failed"
            now = self._clock()
            return AttemptResult(
                claim, receipt.hash, outcome, now, str(exc), held, changed=unknown
            ), exc
        except Exception as exc:  # noqa: BLE001  (the caller's to raise, once it is recorded)
            # A mistake of ours; and `_call`, which sends, lets none of its own get here.
            reason = f"{type(exc).__name__}; nothing was sent"
            return AttemptResult(claim, receipt.hash, "failed", self._clock(), reason, held), exc
        log.event(
            "execute.vendor_answered",
            request_id=claim.trace_id,
            tenant=request.tenant_id,
            call=call_of(held.vendor, held.target),
            device=device.id,
            confirmed=done.confirmed,
            changed=done.changed,
        )
        answer = AttemptResult(
            claim,
            receipt.hash,
            "confirmed" if done.confirmed else "requested",
            self._clock(),
            None if done.changed else _UNCHANGED[done.confirmed],
            held,
            done.reference,
            done.changed,
        )
        return answer, None

    def _client(self, who: Responder) -> VendorClient:
        if who.credentials is None:
            raise VendorError("the tenant has no vendor credentials")
        return self._clients.client(who.credentials)

    async def _find_device(self, who: Responder, host: str, deadline: Deadline) -> Device:
        client = self._client(who)
        known_id = None if who.alert is None else who.alert.device_id
        try:
            async with asyncio.timeout(deadline.remaining_s() + GRACE_S):
                return await client.find_device(host, deadline, known_id)
        except TimeoutError as exc:
            raise VendorError("no answer in time about the device; nothing was sent") from exc

    async def _hold(
        self,
        claim: Attempt,
        who: Responder,
        device: Device,
        receipt: Receipt,
        deadline: Deadline,
    ) -> DeviceLease:
        """Wait until no other action is at the device, in any container, and take it."""
        request = claim.request
        assert who.vendor is not None  # noqa: S101  (there are credentials for it)
        while True:
            now = self._clock()
            hold = LeaseRequest(
                tenant_id=request.tenant_id,
                vendor=who.vendor,
                device=device,
                request_id=request.request_id,
                owner=claim.owner,
                entry_hash=receipt.hash,
                target=target_of(request.action_type),
                lease_until=now + claim.lease_s,
                now=now,
                lift_any=request.force,
            )
            try:
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    held = (
                        await self._writer.commit(devices.acquire, hold, owner=hold.tenant_id)
                    ).result
            except TimeoutError as exc:
                raise UnavailableError("the device could not be taken in time") from exc
            if isinstance(held, Blocked):
                raise VendorError(f"{held.why}; nothing was sent")
            if held is not None:
                return held
            if deadline.remaining_s() == 0:
                raise VendorError("another action is at the device; nothing was sent")
            await asyncio.sleep(DEVICE_RETRY_S)

    async def _call(
        self,
        claim: Attempt,
        who: Responder,
        held: DeviceLease,
        device: Device,
        receipt: Receipt,
        deadline: Deadline,
    ) -> ActionResult:
        request, client = claim.request, self._client(who)
        check = OrderCheck(
            self._database, self._clock, self._check_clock, claim, held, device, who.alert
        )
        comment = f"{comment_start(request.request_id)}, approved by {request.approved_by}"
        order = Order(device, comment, receipt, deadline, check.check)
        try:
            # The client ends by itself with the deadline; this is for one that does not.
            async with asyncio.timeout(deadline.remaining_s() + GRACE_S):
                if held.target != "killed":
                    return await client.change(held.target, order)
                assert who.alert is not None  # noqa: S101  (a kill needs one)
                return await client.kill(order, who.alert)
        except VendorError:
            raise
        except TimeoutError as exc:
            raise _cut_off(check, f"no answer within {self._deadline_s} s") from exc
        except Exception as exc:
            # A mistake in the client.
            log.event(
                "execute.vendor_failed",
                logging.ERROR,
                request_id=claim.trace_id,
                tenant=request.tenant_id,
                entry=receipt.hash,
            )
            raise _cut_off(check, f"{type(exc).__name__} in the client") from exc

    async def _record(self, answer: AttemptResult) -> None:
        """Record the answer now or, where that fails, later.

        The caller is told the truth about the action either way. The claim stays until it is
        recorded; where that does not succeed, until its lease is over, and becomes `unknown` then.
        """
        if not await self._try_to_record(answer):
            self._record_later(msgspec.structs.replace(answer, entry_hash=None))

    def _record_later(self, answer: AttemptResult) -> None:
        task = asyncio.create_task(self._keep_trying_to_record(answer))
        self._recording_later.add(task)
        task.add_done_callback(self._recording_later.discard)

    async def _keep_trying_to_record(self, answer: AttemptResult) -> None:
        lease_until = answer.claim.now + answer.claim.lease_s
        while self._clock() < lease_until:
            await asyncio.sleep(RETRY_S)
            if await self._try_to_record(answer):
                return

    async def _try_to_record(self, answer: AttemptResult) -> bool:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                committed = await self._writer.commit(
                    claims.record, answer, owner=answer.claim.request.tenant_id
                )
        except Exception as exc:  # noqa: BLE001  (logged, and tried again)
            log.event(
                "execute.result_not_recorded",
                logging.ERROR,
                request_id=answer.claim.trace_id,
                tenant=answer.claim.request.tenant_id,
                entry=answer.entry_hash,
                outcome=answer.outcome,
                reason=str(exc) or type(exc).__name__,
            )
            return False
        if not committed.result and answer.entry_hash is not None:
            log.event("execute.claim_lost", logging.ERROR, request_id=answer.claim.trace_id)
        return True


def _cut_off(check: OrderCheck, why: str) -> VendorError:
    """Return the error of a client that was stopped, or has failed, in the middle."""
    if check.has_passed:
        return VendorOutcomeUnknownError(why)
    return VendorError(f"{why}; nothing was sent")


def _answer_unclaimed(request: ContainmentRequest, result: claims.ClaimResult) -> Executed:
    match result:
        case claims.Replayed(dry_run=dry_run):
            return Executed("replayed", dry_run)
        case claims.Reused():
            raise RequestReusedError("another tenant, alert, action or host")
        case admission.NotSupported():
            raise ActionNotSupportedError("the vendor cannot do it")
        case admission.Refused(rule=rule, named=named):
            if named is not None:
                device_names.warn(request.tenant_id, rule, named)
            raise RefusedByPolicyError(rule)
        case _:
            raise InFlightError("claimed")
