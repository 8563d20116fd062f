"""Check at the vendor whether an action has succeeded, after it was sent (contract 37).

The row of an action is stored before the vendor is called. So the action is checked even after a
crash, by the first container that finds it due.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log, tracing
from vyrox.chain.writer import ChainWriter, WorkResult
from vyrox.clock import Clock
from vyrox.containment import settlement
from vyrox.containment.attempt import DeviceLease, Outcome
from vyrox.containment.devices import CONFIRM_FOR_S
from vyrox.containment.events import outcome_event
from vyrox.containment.lease_limit import MAX_AHEAD_S, is_over_in_sql
from vyrox.containment.responder import EdrClients
from vyrox.edr.client import Deadline, Progress, Target
from vyrox.errors import VendorError
from vyrox.models import EdrVendor
from vyrox.store.agenda import Moment
from vyrox.store.database import Database
from vyrox.store.locks import lock
from vyrox.store.tables import claims, confirmations
from vyrox.tenants.edr_credentials import EdrCredentials, list_credentials

MAX_CONCURRENT_CHECKS: Final = 16
"""Checks that run at the same time. A vendor limits the rate of calls."""

CHECK_DEADLINE_S: Final = 20.0
"""For all calls of one check together."""

CHECK_GRACE_S: Final = 5.0
"""How long a vendor's client may run on after the deadline of a check."""

CHECK_LEASE_S: Final = 60.0
"""How long a pending check is reserved for one container. Longer than a check takes."""

BACK_OFF_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Times between two checks of an action. The last one repeats."""

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

    def lease(self) -> DeviceLease:
        return DeviceLease(
            self.tenant_id, self.vendor, self.device_id, self.entry_hash, self.target, self.token
        )


_COLUMNS: Final = [_c[name] for name in _Due.__struct_fields__]


class _Settled(msgspec.Struct, frozen=True):
    due: _Due
    outcome: Outcome
    reason: str | None


class Confirmation:
    """Checks actions at the vendors. `run` must be called often."""

    def __init__(
        self, database: Database, writer: ChainWriter, clients: EdrClients, clock: Clock
    ) -> None:
        self._database = database
        self._writer = writer
        self._clients = clients
        self._clock = clock

    async def run(self) -> None:
        """Check each action that is due, and record its outcome.

        Raises:
            UnavailableError: The database is unavailable; the actions are checked later.
        """
        now = self._clock()
        if not await self._database.read(_is_any_due, now):
            return
        due = await self._database.write(_reserve_due, now)
        results = await asyncio.gather(*map(self._check, due), return_exceptions=True)
        for error in results:
            if error is not None:
                raise error

    async def _check(self, due: _Due) -> None:
        alert_id = await self._database.read(_alert_id, due) if tracing.now() else None
        with tracing.step(
            "confirmation", alert_id, vendor=due.vendor, tenant=due.tenant_id, attempt=due.attempts
        ) as span:
            await self._check_traced(due, span)

    async def _check_traced(self, due: _Due, span: tracing.Step) -> None:
        progress, reason = await self._try_to_read_progress(due)
        span.set(outcome=progress)
        match progress:
            case "reached":
                await self._settle(due, "confirmed", None)
            case "failed":
                await self._settle(due, "failed", "the vendor reports another state of the device")
            case "pending" if self._clock() >= due.until_at:
                await self._settle(
                    due, "outcome_unknown", f"not confirmed in time: {reason or 'still pending'}"
                )
            case "pending":
                wait_s = BACK_OFF_S[min(due.attempts, len(BACK_OFF_S) - 1)]
                await self._database.write(_check_again, due, self._clock() + wait_s)

    async def _try_to_read_progress(self, due: _Due) -> tuple[Progress, str | None]:
        """Return the progress, and why it could not be read. Then it is `pending`."""
        try:
            return await self._read_progress(due), None
        except (VendorError, TimeoutError) as exc:
            return "pending", str(exc) or "no response in time"
        except Exception as exc:  # noqa: BLE001  (logged with its traceback, and tried again)
            log.event("confirmation.failed", logging.ERROR, tenant=due.tenant_id)
            return "pending", f"{type(exc).__name__} in the client"

    async def _read_progress(self, due: _Due) -> Progress:
        stored = await self._database.read(_credentials, due)
        if stored is None:
            raise VendorError("the tenant has no credentials for the vendor any more")
        client = self._clients.client(stored)
        async with asyncio.timeout(CHECK_DEADLINE_S + CHECK_GRACE_S):
            return await client.read_progress(
                due.device_id, due.target, due.reference, Deadline(CHECK_DEADLINE_S)
            )

    async def _settle(self, due: _Due, outcome: Outcome, reason: str | None) -> None:
        committed = await self._writer.commit(
            settle, _Settled(due, outcome, reason), owner=due.tenant_id
        )
        if not committed.result:
            return
        log.event(
            f"execute.{outcome}",
            logging.INFO if outcome == "confirmed" else logging.ERROR,
            tenant=due.tenant_id,
            device=due.device_id,
            entry=due.entry_hash,
            reason=reason,
        )


def settle(connection: Connection, settled: Sequence[_Settled]) -> list[WorkResult[bool]]:
    """Record the outcome of each action, with its event, and stop checking it.

    The result is False, and nothing is recorded, if the action is settled already, or if a later
    action on the device has become pending.
    """
    lock(connection, "containments")
    return [_settle(connection, each) for each in settled]


def _settle(connection: Connection, settled: _Settled) -> WorkResult[bool]:
    due = settled.due
    query = sa.select(_c.is_sent, _c.reference).where(
        _c.entry_hash == due.entry_hash, settlement.is_latest()
    )
    row = connection.execute(query).first()
    if row is None:
        return WorkResult(False)
    if settled.outcome == "failed":
        settlement.fail(connection, due.entry_hash)
    else:
        is_confirmed = settled.outcome == "confirmed"
        end = settlement.confirm if is_confirmed else settlement.stop_checking
        end(connection, due.lease(), is_sent=row.is_sent, reference=row.reference)
    draft = outcome_event(
        due.tenant_id,
        None,
        due.execution.decode(),
        due.entry_hash,
        settled.outcome,
        settled.reason,
    )
    return WorkResult(True, (draft,))


def is_any_due(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that an action is due to be checked."""
    return sa.exists().where(_is_due(now))


def _is_any_due(connection: Connection, now: float) -> bool:
    return bool(connection.execute(sa.select(is_any_due(now))).scalar())


def _is_due(now: Moment) -> sa.ColumnElement[bool]:
    return sa.and_(is_over_in_sql(_c.next_at, now), settlement.is_latest())


def _bounded(due: _Due, now: float) -> _Due:
    """Return `due`. If a wrong clock has stored it, its checks stop CONFIRM_FOR_S from now."""
    if due.until_at <= now + MAX_AHEAD_S + CONFIRM_FOR_S:
        return due
    return msgspec.structs.replace(due, until_at=now + CONFIRM_FOR_S)


def _reserve_due(connection: Connection, now: float) -> list[_Due]:
    """Return actions that are due, reserved for this container for CHECK_LEASE_S."""
    lock(connection, "containments")
    query = sa.select(*_COLUMNS).where(_is_due(now)).order_by(_c.next_at)
    rows = connection.execute(query.limit(MAX_CONCURRENT_CHECKS))
    due = [_bounded(_Due(*row), now) for row in rows]
    for each in due:
        _postpone(connection, each, now + CHECK_LEASE_S)
    return due


def _check_again(connection: Connection, due: _Due, next_at: float) -> None:
    lock(connection, "containments")
    _postpone(connection, due, min(next_at, due.until_at))


def _postpone(connection: Connection, due: _Due, next_at: float) -> None:
    connection.execute(
        confirmations.update()
        .where(_c.entry_hash == due.entry_hash)
        .values(next_at=next_at, until_at=due.until_at, attempts=due.attempts + 1)
    )


def _alert_id(connection: Connection, due: _Due) -> str | None:
    query = sa.select(claims.c.alert_id).where(claims.c.request_id == due.execution)
    found = connection.execute(query).scalar()
    return None if found is None else bytes(found).decode()


def _credentials(connection: Connection, due: _Due) -> EdrCredentials | None:
    stored = list_credentials(connection, due.tenant_id)
    return next((each for each in stored if each.vendor == due.vendor), None)
