"""Every query of every page reads an index, on both databases (contract 82).

The queries are those that the pages send: they are caught while each page of `create_routes()` is
asked for. A table that grows with the alerts is read by an index from a known place on, and never
sorted. SQLite has no statistics, so its plan for a few rows is its plan for a million. PostgreSQL
would read a small table from its beginning to its end, and must not here.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.engine import Engine

from tests.console.every_page import pages
from tests.console.filled import fill
from tests.console.filled_parts import SMALL
from tests.console.running import quiet
from vyrox.clock import wall_clock
from vyrox.console import viewers
from vyrox.settings import Settings
from vyrox.store.database import Database
from vyrox.store.encryption import open_vault

GROWING: Final = frozenset(
    {
        *("action_results", "alert_records", "alerts", "approval_pings", "audit_log"),
        *("break_glass", "claims", "confirmations", "daily_totals", "decisions", "device_names"),
        *("devices", "discord_messages", "graph_notices", "host_devices", "host_names"),
        *("incident_keys", "incident_notes", "incident_proposals", "incident_steps", "incidents"),
        *("leases", "notifications", "person_hosts", "polled_alerts", "proposals", "quarantine"),
        *("suppressions", "verdicts"),
    }
)
"""The tables that grow with what happens. All others have a few rows of each tenant or person."""

FEW: Final[Sequence[tuple[str, str]]] = (
    ("break_glass", "acknowledged_at IS NULL"),  # each is an emergency
    ("confirmations", "target = "),  # what is contained now
    ("devices", "target = "),
    ("daily_totals", "day >= "),  # a week, with at most 200 keys a day
    ("decisions", "proposal_id "),  # one of each approver
    ("discord_messages", "next_at IS NOT NULL"),
    ("host_devices", "host = "),  # of one host
    ("host_names", "host = "),
    ("incident_notes", "incident_notes.number = "),  # of one incident, a few an hour
    ("incidents", "incident_notes.number = "),
    ("incidents", "incidents.number IN "),  # those of a list
    ("leases", "leases."),  # what is contained now
    ("notifications", "created_at > "),  # failed ones of a day
    ("proposals", "state IN ('pending', 'approved')"),  # at most 1,000 of a tenant
    ("proposals", "created_at > "),  # of a day
    ("suppressions", "expires_at > "),  # people make them, and they end
)
"""Of these tables, queries with these words may sort what they find, because it is never much."""


_LIMITED: Final = ("MATERIALIZE", "CO-ROUTINE", "CORRELATED LIST SUBQUERY")
"""How a step of SQLite begins that yields the rows of a subquery with a limit, or their ids."""


@dataclass(frozen=True)
class Query:
    """A query that a page has sent."""

    page: str
    text: str
    parameters: Any


@contextmanager
def caught(found: list[tuple[str, Any]]) -> Iterator[None]:
    """Fill the list with the queries that are sent inside the block."""

    def note(_1: object, _2: object, query: str, parameters: object, *_: object) -> None:
        found.append((query, parameters))

    sa.event.listen(Engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        sa.event.remove(Engine, "before_cursor_execute", note)


async def test_every_query_of_every_page_has_its_index_contract_82(settings: Settings) -> None:
    async with quiet(settings) as running:
        now = wall_clock()
        vault = open_vault(settings.encryption_keys, settings.data_dir)
        await running.database.write(_keep_without_statistics)
        found = await fill(running.database, vault, SMALL, now)
        browser = await running.person("wide", found.tenants[0])
        for tenant_id in found.tenants[1:]:
            await running.database.write(
                viewers.add, tenant_id, "wide", found.tenants[0], "operator", now
            )
        queries: dict[str, Query] = {}
        for path, addresses in pages().items():
            for case, address in addresses.items():
                sent: list[tuple[str, Any]] = []
                with caught(sent):
                    response = await browser.get(address(found, 1))
                assert response.status_code in {200, 303}, (address(found, 1), response.text)
                for text, parameters in sent:
                    queries.setdefault(text, Query(f"{path} ({case})", text, parameters))
        faults = await faults_of(running.database, list(queries.values()))
    assert not faults, "\n\n".join(faults)


def _keep_without_statistics(connection: Connection) -> None:
    """Let PostgreSQL never learn how few rows there are: for those, any index is as good."""
    if connection.dialect.name == "postgresql":
        for table in sorted(GROWING):
            connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")


async def faults_of(database: Database, queries: Sequence[Query]) -> list[str]:
    def read(connection: Connection) -> list[str]:
        is_postgres = connection.dialect.name == "postgresql"
        check = _postgres_faults if is_postgres else _sqlite_faults
        found = []
        for query in queries:
            if query.text.lstrip().upper().startswith(("SELECT", "WITH")):
                faults = check(connection, query)
                found += [f"{query.page}: {'; '.join(faults)}\n{query.text}"] if faults else []
        return found

    return await database.read(read)


def _sqlite_faults(connection: Connection, query: Query) -> list[str]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query.text}", query.parameters).all()
    names = _aliases(query.text)
    faults = []
    for _, parent, _, step in rows:
        if (match := re.match(r"SCAN (\w+)", step)) and names.get(match[1], match[1]) in GROWING:
            faults.append(step)
        # A "right part" is sorted among rows that are equal so far, such as those of one instant.
        # A subquery that comes first has a limit, or it would have been taken apart.
        if "TEMP B-TREE" in step and "RIGHT PART" not in step:
            beside = [each[-1] for each in rows if each[1] == parent]
            found = [re.match(r"SEARCH (\w+) USING", each) for each in beside]
            tables = {names.get(match[1], match[1]) for match in found if match is not None}
            is_of_few = any(each.startswith(_LIMITED) for each in beside)
            if not is_of_few and any(_may_be_many(each, query) for each in tables):
                faults.append(f"{step} of {beside}")
    return faults


def _may_be_many(table: str, query: Query) -> bool:
    words = query.text.replace('"', "")
    return table in GROWING and not any(table == each and part in words for each, part in FEW)


def _aliases(text: str) -> dict[str, str]:
    return {alias: table for table, alias in re.findall(r"(\w+) AS (\w+)", text)}


def _postgres_faults(connection: Connection, query: Query) -> list[str]:
    for name in ("seqscan", "sort"):
        connection.exec_driver_sql(f"SET LOCAL enable_{name} = off")
    explained = connection.exec_driver_sql(
        f"EXPLAIN (FORMAT JSON) {query.text}", query.parameters
    ).scalar_one()
    plan = json.loads(explained) if isinstance(explained, str) else explained
    return list(_faults_in(plan[0]["Plan"], query))


def _faults_in(node: dict[str, Any], query: Query) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name")
    is_whole = kind == "Seq Scan" or (kind.startswith("Index") and "Index Cond" not in node)
    if table in GROWING and is_whole:
        yield f"{kind} of {table}"
    for each in node.get("Plans", ()):
        yield from _faults_in(each, query)
    if kind == "Sort":
        yield from (f"Sort of {each}" for each in _sorted(node) if _may_be_many(each, query))


def _sorted(node: dict[str, Any]) -> Iterator[str]:
    """Yield the tables whose rows reach a node; a limit lets only few of them through."""
    if "Relation Name" in node:
        yield node["Relation Name"]
    for each in node.get("Plans", ()):
        is_one_row = each.get("Index Name", "").endswith("_pkey") and len(node["Plans"]) > 1
        if each["Node Type"] != "Limit" and not is_one_row:
            yield from _sorted(each)
