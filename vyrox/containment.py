"""Carry out an approved containment: claim and entry, vendor, record (contract 19, 22 to 25, 27).

From the claim on, the work is a task of its own. A caller that hangs up, a timeout and a shutdown
lose its answer and nothing else: none of them can leave an action without its outcome.
"""

import asyncio
import logging
import secrets
from typing import Final, Literal

import msgspec

from vyrox import claims, log
from vyrox.chain.writer import ChainWriter, Committed, Receipt
from vyrox.claims import Answer, AnswerKind, Claim
from vyrox.clock import Clock
from vyrox.edr import ActingVendor, FindVendor
from vyrox.errors import (
    ActionNotSupportedError,
    InFlightError,
    OverloadedError,
    RequestReusedError,
    UnavailableError,
    VendorError,
    VendorOutcomeUnknownError,
)
from vyrox.models import ContainmentRequest

COMMIT_TIMEOUT_S: Final = 5.0
"""For the claim and its entry: beyond it the vendor is not called, whatever is committed later. And
for the record of what came of it: beyond it the caller is answered, and it is recorded later."""

RETRY_S: Final = 1.0
"""Between two attempts to record what could not be recorded at once."""


class Executed(msgspec.Struct, frozen=True):
    """The answer of `/execute`."""

    status: Literal["executed", "dry_run", "replayed"]
    dry_run: bool


class Containment:
    """Carries out containments; `drain` waits for those under way."""

    def __init__(
        self,
        writer: ChainWriter,
        find_vendor: FindVendor,
        clock: Clock,
        *,
        dry_run: bool,
        deadline_s: float,
    ) -> None:
        """`deadline_s` is for one whole action at the vendor; the lease of a claim outlasts it."""
        self._writer = writer
        self._find_vendor = find_vendor
        self._clock = clock
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
            UnavailableError: No entry known to be committed, so no action. What is committed all
                the same is an entry with the outcome `failed`, and no claim.
            VendorError: The vendor did not act, or may have; see its subclass.
        """
        vendor = await self._find_vendor(request)
        task = asyncio.create_task(self._carry_out(request, vendor, trace_id))
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

    async def _carry_out(
        self, request: ContainmentRequest, vendor: ActingVendor | None, trace_id: str
    ) -> Executed:
        # 1. The claim and the audit entry, in one transaction.
        claim = Claim(
            request=request,
            owner=secrets.token_hex(16),
            trace_id=trace_id,
            dry_run=self._dry_run,
            supported=vendor is None or vendor.supports(request.action_type),
            lease_s=self._deadline_s + claims.LEASE_MARGIN_S,
            now=self._clock(),
        )
        committed = await self._commit(claim)
        if not isinstance(committed.result, claims.Claimed):
            return _answer_unclaimed(committed.result)
        receipt = committed.receipts[0]
        # 2. The vendor, or a dry run.
        try:
            if not self._dry_run:
                await self._act(vendor, request, receipt, trace_id)
        except VendorError as exc:
            unknown = isinstance(exc, VendorOutcomeUnknownError)
            failure: AnswerKind = "outcome_unknown" if unknown else "failed"
            await self._record(Answer(claim, receipt.hash, failure, self._clock(), str(exc)))
            raise
        # 3. What came of it.
        done: Literal["executed", "dry_run"] = "dry_run" if self._dry_run else "executed"
        await self._record(Answer(claim, receipt.hash, done, self._clock()))
        return Executed(done, self._dry_run)

    async def _commit(self, claim: Claim) -> Committed[claims.ClaimResult]:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                return await self._writer.commit(claims.claim, claim)
        except OverloadedError:
            raise  # it was not even handed in
        except (TimeoutError, UnavailableError) as exc:
            # It may have been committed, or may yet be. Nobody acts on it, so it is released.
            reason = f"no commit seen: {str(exc) or 'timeout'}"
            self._record_later(Answer(claim, None, "failed", self._clock(), reason))
            raise UnavailableError(reason) from exc

    async def _act(
        self,
        vendor: ActingVendor | None,
        request: ContainmentRequest,
        receipt: Receipt,
        trace_id: str,
    ) -> None:
        if vendor is None:
            raise VendorError("the tenant has no vendor credentials")
        try:
            async with asyncio.timeout(self._deadline_s):
                await vendor.contain(request, receipt)
        except VendorError:
            raise
        except TimeoutError as exc:
            raise VendorOutcomeUnknownError(f"no answer within {self._deadline_s} s") from exc
        except Exception as exc:
            # A mistake in the client, and no telling whether before or after the call.
            log.event(
                "execute.vendor_failed",
                logging.ERROR,
                request_id=trace_id,
                tenant=request.tenant_id,
                entry=receipt.hash,
            )
            raise VendorOutcomeUnknownError(f"{type(exc).__name__} in the client") from exc

    async def _record(self, answer: Answer) -> None:
        """Record the answer now or, where that fails, later.

        The caller is told the truth about the action either way. The claim stays until it is
        recorded; where that does not succeed, until its lease is over, and becomes `unknown` then.
        """
        if not await self._try_to_record(answer):
            self._record_later(msgspec.structs.replace(answer, entry_hash=None))

    def _record_later(self, answer: Answer) -> None:
        task = asyncio.create_task(self._keep_trying_to_record(answer))
        self._recording_later.add(task)
        task.add_done_callback(self._recording_later.discard)

    async def _keep_trying_to_record(self, answer: Answer) -> None:
        lease_until = answer.claim.now + answer.claim.lease_s
        while self._clock() < lease_until:
            await asyncio.sleep(RETRY_S)
            if await self._try_to_record(answer):
                return

    async def _try_to_record(self, answer: Answer) -> bool:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                committed = await self._writer.commit(claims.record, answer)
        except Exception as exc:  # noqa: BLE001  (logged, and tried again)
            log.event(
                "execute.unrecorded",
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


def _answer_unclaimed(result: claims.ClaimResult) -> Executed:
    match result:
        case claims.Replayed(dry_run=dry_run):
            return Executed("replayed", dry_run)
        case claims.Reused():
            raise RequestReusedError("another tenant, alert, action or host")
        case claims.NotSupported():
            raise ActionNotSupportedError("the vendor cannot do it")
        case _:
            raise InFlightError("claimed")
