"""The steps of one approved request (contract 19, 22 to 25, 27 and 36).

1. Commit the claim and the audit entry. 2. Have the vendor act. 3. Record the result.

They run in a task of their own. If the caller disconnects, a timeout ends the request, or the
service shuts down, the response is lost, but the action still gets its outcome.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from vyrox import log, tracing
from vyrox.chain.entry import Receipt
from vyrox.chain.writer import ChainWriter, Committed
from vyrox.clock import Clock
from vyrox.containment import admission, claims
from vyrox.containment.attempt import Approval, Attempt, AttemptResult, ClaimedAttempt
from vyrox.containment.order_check import CheckClock
from vyrox.containment.responder import EdrClients
from vyrox.containment.vendor_action import VendorAction, lease_s
from vyrox.edr.client import Deadline
from vyrox.errors import (
    ActionNotSupportedError,
    InFlightError,
    NotPossibleError,
    OverloadedError,
    RefusedByPolicyError,
    RequestReusedError,
    UnavailableError,
)
from vyrox.models import ContainmentRequest
from vyrox.store.database import Database
from vyrox.tenants import device_names

COMMIT_TIMEOUT_S: Final = 5.0
"""For the claim and its entry: after this time the vendor is not called, even if they are committed
later. And for the result: after this time the caller gets its response, and the result is recorded
later."""

RECORD_RETRY_S: Final = 1.0
"""Time between two attempts to record a result."""

_IN_FLIGHT: Final = "a request with this request_id is in progress; send it again for its result"
_IN_FLIGHT_KILL: Final = (
    "a kill with this request_id is in progress, or it is not known whether it ended the process; "
    "it is not sent again for 10 minutes"
)


class Executed(msgspec.Struct, frozen=True):
    """The response of `/execute` and `/lift`."""

    status: Literal["executed", "dry_run", "replayed"]
    dry_run: bool


class Containment:
    """Carries out containments and lifts. `drain` waits for those in progress."""

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
        needs_approval: bool = False,
    ) -> None:
        """Create it.

        Args:
            clock: The clock of leases.
            check_clock: Called before each changing call.
            deadline_s: For one whole action at the vendor. Its leases are longer.
            needs_approval: Refuse what has no approved proposal (REQUIRE_APPROVAL).
        """
        self._writer = writer
        self._vendor_action = VendorAction(writer, database, clients, clock, check_clock)
        self._clock = clock
        self._dry_run = dry_run
        self._deadline_s = deadline_s
        self._needs_approval = needs_approval
        self._in_progress: set[asyncio.Task[Executed]] = set()
        self._recording_later: set[asyncio.Task[None]] = set()

    async def execute(
        self,
        request: ContainmentRequest,
        trace_id: str,
        approval: Approval | None = None,
        entered: Callable[[Receipt], None] | None = None,
    ) -> Executed:
        """Carry `request` out, unless it was carried out before.

        Args:
            trace_id: The id of the HTTP request, for the events.
            approval: The approved proposal that the request carries out.
            entered: Is called with the receipt of the entry, once it is committed.

        Raises:
            NotPossibleError: The proposal does not allow it; nothing was written.
            InFlightError: Another attempt is in progress.
            RequestReusedError: Its `request_id` was used for another request.
            ActionNotSupportedError: The vendor cannot do the action; nothing was written.
            RefusedByPolicyError: A guard rail refuses it; only the event was written.
            UnavailableError: The commit of the entry was not seen, so the vendor was not called. If
                it was committed, the entry gets the outcome `failed`, and the claim is deleted.
            VendorError: The vendor did not act, or may have acted; see its subclasses.
        """
        task = asyncio.create_task(self._traced(request, trace_id, approval, entered))
        self._in_progress.add(task)
        task.add_done_callback(self._in_progress.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until every action in progress has ended.

        The claim of a result that is still not recorded then stays until its lease expires.
        """
        while self._in_progress:
            await asyncio.wait(self._in_progress)
        while self._recording_later:
            for task in self._recording_later:
                task.cancel()
            await asyncio.wait(self._recording_later)

    async def _traced(
        self,
        request: ContainmentRequest,
        trace_id: str,
        approval: Approval | None,
        entered: Callable[[Receipt], None] | None,
    ) -> Executed:
        with tracing.step(
            "action",
            request.alert_id,
            tenant=request.tenant_id,
            request_id=trace_id,
            action=request.action_type,
        ) as span:
            executed = await self._carry_out(request, trace_id, approval, entered)
            span.set(outcome=executed.status)
            return executed

    async def _carry_out(
        self,
        request: ContainmentRequest,
        trace_id: str,
        approval: Approval | None,
        entered: Callable[[Receipt], None] | None,
    ) -> Executed:
        # 1. The claim and the audit entry, in one transaction, if the guard rails allow it.
        attempt = Attempt(
            request=request,
            owner=secrets.token_hex(16),
            trace_id=trace_id,
            dry_run=self._dry_run,
            lease_s=lease_s(self._deadline_s),
            now=self._clock(),
            approval=approval,
            needs_approval=self._needs_approval,
        )
        committed = await self._commit(attempt)
        deadline = Deadline(min(self._deadline_s, attempt.send_until - self._clock()))
        if isinstance(committed.result, admission.NeedsDevice):
            responder = committed.result.responder
            device = await self._vendor_action.look_up(responder, request, deadline)
            attempt = msgspec.structs.replace(attempt, device=device, now=self._clock())
            committed = await self._commit(attempt)
        claimed = committed.result
        if not isinstance(claimed, admission.Claimed):
            return _answer_unclaimed(request, claimed)
        receipt = committed.receipts[0]
        if entered is not None:
            entered(receipt)
        # 2. The vendor, or a dry run.
        error: Exception | None = None
        if self._dry_run:
            result = AttemptResult(
                attempt, receipt.hash, "dry_run", self._clock(), known=claimed.known
            )
        else:
            result, error = await self._vendor_action.act(
                ClaimedAttempt(attempt, claimed.responder, receipt, deadline)
            )
        # 3. The result.
        with tracing.step("result", outcome=result.outcome):
            await self._record(result)
        if error is not None:
            raise error
        return Executed("dry_run" if self._dry_run else "executed", self._dry_run)

    async def _commit(self, attempt: Attempt) -> Committed[claims.ClaimResult]:
        try:
            with tracing.step("claim"):
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    return await self._writer.commit(
                        claims.claim, attempt, owner=attempt.request.tenant_id
                    )
        except OverloadedError:
            raise  # the writer has not accepted it, so it is never committed
        except (TimeoutError, UnavailableError) as exc:
            # It may be committed, now or later. The vendor is not called, so the claim is released.
            reason = f"no commit seen: {str(exc) or 'timeout'}"
            self._record_later(AttemptResult(attempt, None, "failed", self._clock(), reason))
            raise UnavailableError(reason) from exc

    async def _record(self, result: AttemptResult) -> None:
        """Record the result now or, if that fails, later.

        The caller gets the true result either way. The claim stays until the result is recorded. If
        it never is, the claim becomes `unknown` when its lease expires.
        """
        if not await self._try_to_record(result):
            self._record_later(msgspec.structs.replace(result, entry_hash=None))

    def _record_later(self, result: AttemptResult) -> None:
        task = asyncio.create_task(self._keep_trying_to_record(result))
        self._recording_later.add(task)
        task.add_done_callback(self._recording_later.discard)

    async def _keep_trying_to_record(self, result: AttemptResult) -> None:
        while self._clock() < result.attempt.lease_until:
            await asyncio.sleep(RECORD_RETRY_S)
            if await self._try_to_record(result):
                return

    async def _try_to_record(self, result: AttemptResult) -> bool:
        attempt = result.attempt
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                committed = await self._writer.commit(
                    claims.record, result, owner=attempt.request.tenant_id
                )
        except Exception as exc:  # noqa: BLE001  (logged, and tried again)
            log.event(
                "execute.result_not_recorded",
                logging.ERROR,
                request_id=attempt.trace_id,
                tenant=attempt.request.tenant_id,
                entry=result.entry_hash,
                outcome=result.outcome,
                reason=str(exc) or type(exc).__name__,
            )
            return False
        if not committed.result and result.entry_hash is not None:
            log.event("execute.claim_lost", logging.ERROR, request_id=attempt.trace_id)
        return True


def _answer_unclaimed(request: ContainmentRequest, result: claims.ClaimResult) -> Executed:
    """Return the response to a request that was not claimed, or raise its error."""
    is_kill = request.action_type == "PROCESS_KILL"
    match result:
        case claims.Replayed(dry_run=dry_run):
            return Executed("replayed", dry_run)
        case admission.NotApproved(reason=reason):
            raise NotPossibleError(reason)
        case claims.Reused():
            raise RequestReusedError(
                "this request_id was used for another tenant, alert, action or host"
            )
        case admission.NotSupported(reason=reason):
            raise ActionNotSupportedError(reason)
        case admission.Refused(rule=rule, named=named):
            if named is not None:
                device_names.warn(request.tenant_id, rule, named)
            raise RefusedByPolicyError(rule)
        case _:
            raise InFlightError(_IN_FLIGHT_KILL if is_kill else _IN_FLIGHT)
