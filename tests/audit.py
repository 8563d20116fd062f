"""Audit chains for tests: a running writer, a clock to set, a store that can fail, the oracle."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeVar, TypeVarTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.polling import PATIENCE_S
from vyrox.chain.entry import Draft, Stream
from vyrox.chain.events import event
from vyrox.chain.export import pages
from vyrox.chain.verify import Chain
from vyrox.chain.writer import ChainWriter
from vyrox.errors import DatabaseUnavailableError
from vyrox.store.database import Database
from vyrox.store.tables import audit_log

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NOW = 1_704_067_200.25
TENANT = "acme-corp"

Entry = dict[str, object]
Place = tuple[str, Stream]
"""The tenant and the stream of a chain."""


class Clock:
    """A clock that moves only when it is set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FaultyDatabase:
    """A real store that counts its writes, and can delay them or make them fail.

    Attributes:
        writes: How many writes have begun.
        faults: By the number of a write, from 1: it fails before it does anything, or after its
            commit.
        error: The error of a failed write.
        always: The fault of every write. With `before`, reads fail too.
        gate: A write waits until this is set. It is set at first.
        began: Each write sets this before it waits for the gate.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.writes = 0
        self.faults: dict[int, Literal["before", "after"]] = {}
        self.error: Exception = DatabaseUnavailableError("away")
        self.always: Literal["before", "after"] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = PATIENCE_S,
        pause: bool = False,
    ) -> T:
        self.writes += 1
        fault = self.faults.pop(self.writes, self.always)
        self.began.set()
        await self.gate.wait()
        if fault == "before":
            raise self.error
        result = await self._database.write(transaction, *args, timeout_s=timeout_s, pause=pause)
        if fault == "after":
            raise self.error
        return result

    async def read(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = PATIENCE_S,
    ) -> T:
        if self.always == "before":
            raise self.error
        return await self._database.read(transaction, *args, timeout_s=timeout_s)


@asynccontextmanager
async def running_writer(
    database: Database, clock: Callable[[], float] | None = None
) -> AsyncIterator[ChainWriter]:
    """Run a writer until the block ends."""
    writer = ChainWriter(database, clock or Clock())
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def action(host: str, tenant_id: str = TENANT) -> Draft:
    """Return the draft of an entry of the `actions` stream."""
    members = {"action_type": "HOST_ISOLATION", "host": host, "approved_by": "jane \U0001f512"}
    return Draft(tenant_id, "actions", "HOST_ISOLATION", {**members, "dry_run": True})


def noted(number: int, tenant_id: str = TENANT) -> Draft:
    """Return the draft of an entry of the `events` stream."""
    return event("execute.refused", tenant_id, f"request-{number}", number=number)


async def entries(
    database: Database, tenant_id: str = TENANT, stream: Stream = "actions"
) -> list[Entry]:
    """Export a chain, verify it, and return its entries."""
    chain = Chain()
    found: list[Entry] = []
    async for page in pages(database, tenant_id, stream):
        for line in page:
            chain.add(line)
            found.append(msgspec.json.decode(line))
    return found


async def events(
    database: Database, tenant_id: str = TENANT, kind: str | None = None
) -> list[Entry]:
    """Return a tenant's events, of one kind if it is given, in the order of the chain."""
    found = await entries(database, tenant_id, "events")
    return [entry for entry in found if kind in (None, entry["kind"])]


async def verified_chains(database: Database) -> dict[Place, list[str]]:
    """Verify every chain in the database, and return their hashes in order."""
    return {
        place: [str(entry["hash"]) for entry in await entries(database, *place)]
        for place in await database.read(_places)
    }


def _places(connection: Connection) -> list[Place]:
    query = sa.select(audit_log.c.tenant_id, audit_log.c.stream).distinct()
    return [(tenant_id, stream) for tenant_id, stream in connection.execute(query)]


def change_entry(connection: Connection, stream: Stream, sequence: int, entry: bytes) -> None:
    """Change an entry as somebody can who may do anything in the database."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
    else:
        connection.execute(sa.text("DROP TRIGGER audit_log_no_update"))
    is_it = sa.and_(audit_log.c.sequence == sequence, audit_log.c.stream == stream)
    connection.execute(audit_log.update().where(is_it).values(entry=entry))
