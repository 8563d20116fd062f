"""Measures how large the audit log gets for each alert, and what an archive leaves of it.

`python -m benchmarks.log_size` writes 50,000 accepted alerts of 10 tenants to SQLite and to
PostgreSQL. Sizes are those of the pages of the table and of its indexes.
"""

import asyncio
import tempfile
import time
import uuid
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from tests.conftest import new_postgres_database
from tests.postgres import Postgres
from vyrox.chain import archiving
from vyrox.chain.events import event
from vyrox.chain.nodes import read_entry_hashes
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.store.database import Database, open_database
from vyrox.store.tables import audit_log

EVENTS: Final = 50_000
TENANTS: Final = 10
AT_ONCE: Final = 50
AGE_S: Final = 86_400


def _write(connection: Connection, first: int, now: float) -> None:
    drafts = [
        event(
            "alert.accepted",
            f"tenant-{number % TENANTS}",
            str(uuid.uuid4()),
            alert_id=str(uuid.uuid4()),
            source="crowdstrike",
            severity="high",
            host=f"workstation-{number:05}.example.com",
            process="powershell.exe",
            technique="T1059.001",
        )
        for number in range(first, first + AT_ONCE)
    ]
    append(connection, drafts, now)


def _sizes(connection: Connection) -> dict[str, int]:
    c = audit_log.c
    entry = connection.execute(
        sa.select(sa.func.sum(sa.func.length(c.entry))).where(c.stream == "events")
    )
    if connection.dialect.name == "postgresql":
        query = "SELECT pg_relation_size('audit_log'), pg_indexes_size('audit_log')"
        table, indexes = connection.execute(sa.text(query)).one()
    else:
        of_table = (
            "SELECT sum(pgsize) FILTER (WHERE name = 'audit_log'), sum(pgsize) FILTER "
            "(WHERE name <> 'audit_log') FROM dbstat WHERE name LIKE '%audit_log%'"
        )
        table, indexes = connection.execute(sa.text(of_table)).one()
    return {"entries": int(entry.scalar() or 0), "table": table, "indexes": indexes or 0}


async def _measure(name: str, database: Database) -> None:
    now = wall_clock() - AGE_S
    for first in range(0, EVENTS, AT_ONCE):
        await database.write(_write, first, now)
    sizes = await database.read(_sizes)
    each = ", ".join(f"{what} {size / EVENTS:.0f}" for what, size in sizes.items())
    total = (sizes["table"] + sizes["indexes"]) / EVENTS
    print(f"{name}: {EVENTS:,} alerts; bytes for each: {each}; {total:.0f} on disk", flush=True)
    began = time.perf_counter()
    removed = 0
    for number in range(TENANTS):
        planned = archiving.Plan(f"tenant-{number}", 1, EVENTS // TENANTS // 256 * 256)
        [last] = await database.read(
            read_entry_hashes, (planned.tenant_id, "events"), planned.last - 1, planned.last
        )
        await archiving.record(database, planned, last.hex(), b"", wall_clock())
        removed += await archiving.remove(database, planned.tenant_id)
    seconds = time.perf_counter() - began
    print(f"{name}: {removed:,} events removed in {seconds:.1f} s, 32 bytes of each are left")


async def main() -> None:
    """Measure both databases."""
    with tempfile.TemporaryDirectory(prefix="vx-bench-") as directory:
        async with open_database(None, Path(directory)) as database:
            await _measure("SQLite", database)
        with Postgres() as postgres:
            url = await new_postgres_database(postgres)
            async with open_database(url, Path(directory)) as database:
                await _measure("PostgreSQL", database)


if __name__ == "__main__":
    asyncio.run(main())
