"""Look at the vendor for what became of an action, once it was sent (contract 37).

What is still to be confirmed stands in the database since before the vendor was called, so it is
looked for whatever crashed meanwhile, by whichever container comes first.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain.writer import ChainWriter, WorkResult
from vyrox.clock import Clock
from vyrox.containment import devices
from vyrox.containment.devices import CONFIRM_FOR_S, DeviceLease, outcome_event
from vyrox.containment.lease_limit import MAX_AHEAD_S, is_over_in_sql
from vyrox.containment.responder import EdrClients
from vyrox.edr.client import Deadline, Target
from vyrox.errors import VendorError
from vyrox.models import EdrVendor
from vyrox.store.database import Database
from vyrox.store.locks import lock
from vyrox.store.tables import confirmations
from vyrox.tenants.edr_credentials import EdrCredentials, list_credentials

MAX_CONCURRENT_CHECKS: Final = 16
"""Actions looked at together: a vendor limits the rate of calls."""

CALL_DEADLINE_S: Final = 20.0
"""For one look, all its calls together."""

CHECK_LEASE_S: Final = 60.0
"""For so long one that is being looked at is nobody else's; longer than a look takes."""

BACK_OFF_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Before the next look; then the last of these."""

Found = Literal["confirmed", "failed", "outcome_unknown"]

_c: Final = confirmations.c


class _Due(msgspec.Struct, frozen=True):
    entry_hash: str
    tenant_id: str
    vendor: EdrVendor
    device_id: str
    execution: bytes
    target: Target
    reference: str | None
    attempts: int
    next_at: float
    until_at: float
    token: int

    def held(self) -> DeviceLease:
        return DeviceLease(
            self.tenant_id, self.vendor, self.device_id, self.entry_hash, self.target, self.token
        )


_COLUMNS: Final = [_c[name] for name in _Due.__struct_fields__]


class _Settled(msgspec.Struct, frozen=True):
    due: _Due
    found: Found
    reason: str | None


class Confirmation:
    """Looks for the effects of actions; `run` must be called often."""

    def __init__(
        self, database: Database, writer: ChainWriter, clients: EdrClients, clock: Clock
    ) -> None:
        self._database = database
        self._writer = writer
        self._clients = clients
        self._clock = clock

    async def run(self) -> None:
        """Look at those actions whose time has come, and write down what was found.

        Raises:
            UnavailableError: The database is away; nothing is forgotten.
        """
        now = self._clock()
        if not await self._database.read(_any_due, now):
            return
        due = await self._database.write(_take_due, now)
        looks = await asyncio.gather(*(self._look(each) for each in due), return_exceptions=True)
        for failure in looks:
            if failure is not None:
                raise failure

    async def _look(self, due: _Due) -> None:
        reason: str | None = None
        try:
            progress = await self._read_progress(due)
        except (VendorError, TimeoutError) as exc:
            progress, reason = "pending", str(exc) or "no answer in time"
        except Exception as exc:  # noqa: BLE001  (logged with its traceback, and tried again)
            log.event("confirmation.failed", logging.ERROR, tenant=due.tenant_id)
            progress, reason = "pending", f"{type(exc).__name__} in the client"
        match progress:
            case "reached":
                await self._settle(due, "confirmed", None)
            case "failed":
                await self._settle(due, "failed", "the vendor has the device in another state")
            case "pending" if self._clock() >= due.until_at:
                await self._settle(
                    due, "outcome_unknown", f"not confirmed in time: {reason or 'still pending'}"
                )
            case "pending":
                wait_s = BACK_OFF_S[min(due.attempts, len(BACK_OFF_S) - 1)]
                await self._database.write(_look_again, due, self._clock() + wait_s)

    async def _read_progress(self, due: _Due) -> Literal["pending", "reached", "failed"]:
        stored = await self._database.read(_credentials, due)
        if stored is None:
            raise VendorError("the tenant has no credentials for the vendor any more")
        client = self._clients.client(stored)
        async with asyncio.timeout(CALL_DEADLINE_S + 5):
            return await client.read_progress(
                due.device_id, due.target, due.reference, Deadline(CALL_DEADLINE_S)
            )

    async def _settle(self, due: _Due, found: Found, reason: str | None) -> None:
        committed = await self._writer.commit(
            settle, _Settled(due, found, reason), owner=due.tenant_id
        )
        if not committed.result:
            return
        log.event(
            f"execute.{found}",
            logging.INFO if found == "confirmed" else logging.ERROR,
            tenant=due.tenant_id,
            device=due.device_id,
            entry=due.entry_hash,
            reason=reason,
        )


def settle(connection: Connection, settled: Sequence[_Settled]) -> list[WorkResult[bool]]:
    """Write down what was found of each action, and look for it no longer; False where it is not.

    A later action stands before it, or it was told already.
    """
    lock(connection, "containments")
    return [_settle(connection, each) for each in settled]


def _settle(connection: Connection, settled: _Settled) -> WorkResult[bool]:
    due = settled.due
    mine = sa.select(_c.is_sent, _c.reference).where(
        _c.entry_hash == due.entry_hash, devices.is_latest()
    )
    row = connection.execute(mine).first()
    if row is None:
        return WorkResult(False)
    match settled.found:
        case "confirmed":
            devices.confirm(connection, due.held(), is_sent=row.is_sent, reference=row.reference)
        case "outcome_unknown":
            devices.stop_checking(
                connection, due.held(), is_sent=row.is_sent, reference=row.reference
            )
        case "failed":
            devices.fail(connection, due.entry_hash)
    told = outcome_event(
        due.tenant_id,
        None,
        due.execution.decode(),
        due.entry_hash,
        settled.found,
        settled.reason,
    )
    return WorkResult(True, (told,))


def _any_due(connection: Connection, now: float) -> bool:
    query = sa.select(sa.literal(1)).where(_is_due(now)).limit(1)
    return connection.execute(query).first() is not None


def _is_due(now: float) -> sa.ColumnElement[bool]:
    return sa.and_(is_over_in_sql(_c.next_at, now), devices.is_latest())


def _bounded(due: _Due, now: float) -> _Due:
    """Return `due`; if a wrong clock has stored it, the checks stop CONFIRM_FOR_S from now."""
    if due.until_at <= now + MAX_AHEAD_S + CONFIRM_FOR_S:
        return due
    return msgspec.structs.replace(due, until_at=now + CONFIRM_FOR_S)


def _take_due(connection: Connection, now: float) -> list[_Due]:
    lock(connection, "containments")
    query = (
        sa.select(*_COLUMNS).where(_is_due(now)).order_by(_c.next_at).limit(MAX_CONCURRENT_CHECKS)
    )
    due = [_bounded(_Due(*row), now) for row in connection.execute(query)]
    for each in due:
        _put_off(connection, each, now + CHECK_LEASE_S)
    return due


def _look_again(connection: Connection, due: _Due, next_at: float) -> None:
    lock(connection, "containments")
    _put_off(connection, due, min(next_at, due.until_at))


def _put_off(connection: Connection, due: _Due, next_at: float) -> None:
    connection.execute(
        confirmations.update()
        .where(_c.entry_hash == due.entry_hash)
        .values(next_at=next_at, until_at=due.until_at, attempts=due.attempts + 1)
    )


def _credentials(connection: Connection, due: _Due) -> EdrCredentials | None:
    stored = list_credentials(connection, due.tenant_id)
    return next((each for each in stored if each.vendor == due.vendor), None)
