"""A database as it is after months: rows of every kind that the console's pages read.

The rows are made directly, not by the service: a million alerts would take it an hour. The alerts,
verdicts, stories and audit entries are made by the service's own functions, so pages can read them.
`benchmarks/console.py` fills a database with a million alerts, `test_plans.py` with hundreds.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from cryptography.fernet import MultiFernet
from sqlalchemy import Connection

from tests.console.filled_decisions import Proposals
from tests.console.filled_incidents import Incidents
from tests.console.filled_others import Others
from tests.console.filled_parts import (
    BATCH,
    SECRET,
    SPAN_S,
    VENDORS,
    Chains,
    Filled,
    Size,
)
from vyrox.store.database import Database
from vyrox.tenants.records import add_tenant
from vyrox.triage.story import BANDS
from vyrox.triage.totals import MAX_KEYS, Counted, Total, add, day_of
from vyrox.triage.totals_log import count_log


async def fill(database: Database, vault: MultiFernet, size: Size, now: float) -> Filled:
    """Fill an empty database and return what is in it."""
    tenants = [f"tenant-{number:03}" for number in range(size.tenants)]
    found = Filled(now, tenants, size.hosts)
    await database.write(_prepare, timeout_s=600.0)
    await database.write(_add_tenants, tenants, vault, now, timeout_s=600.0)
    chains = Chains(size, found)
    stored = Incidents(chains)
    incidents = iter(range(size.incidents))
    while numbers := list(islice(incidents, BATCH)):
        await database.write(stored.store, numbers, timeout_s=600.0)
    await database.write(stored.finish, timeout_s=600.0)
    await database.write(Proposals(chains).store, timeout_s=600.0)
    await database.write(Others(chains).store, timeout_s=600.0)
    found.sequences = chains.lengths()
    for tenant_id in tenants:
        await database.write(_count, found, tenant_id, timeout_s=600.0)
        while await database.write(count_log, tenant_id, timeout_s=600.0):
            pass
    return found


def _count(connection: Connection, found: Filled, tenant_id: str) -> None:
    """Store the totals of eight weeks. The first tenant has as many rules as a day can have."""
    rules = MAX_KEYS if tenant_id == found.tenants[0] else MAX_KEYS // 10
    today = day_of(found.now)
    totals = [
        Total(day, name, key)
        for day in range(today - 56, today + 1)
        for name, keys in (
            ("band", BANDS),
            ("signal", [f"family.signal_{n}" for n in range(rules)]),
            ("rule", [f'["crowdstrike","T1059","program{n}.exe"]' for n in range(rules)]),
        )
        for key in keys
    ]
    counted = Counted(
        Counter({total: 1 + n % 50 for n, total in enumerate(totals)}),
        Counter({total: n % 9 for n, total in enumerate(totals)}),
        Counter({total: n % 3 for n, total in enumerate(totals)}),
    )
    add(connection, tenant_id, counted)


def _prepare(connection: Connection) -> None:
    """Let SQLite keep what it changes in memory, not 2 MB of it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA cache_size = -2000000")


def _add_tenants(
    connection: Connection, tenants: Sequence[str], vault: MultiFernet, now: float
) -> None:
    secret = vault.encrypt(SECRET.encode()).decode()
    for tenant_id in tenants:
        # Most tenants have one product for their hosts, and one for everything else.
        for vendor in VENDORS if tenant_id == tenants[0] else VENDORS[:2]:
            add_tenant(connection, tenant_id, vendor, secret, None, now - SPAN_S)
