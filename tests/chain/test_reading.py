"""Lists of entries, page by page (contract 80)."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.alerts.test_finding import plans
from tests.audit import NOW, TENANT
from vyrox.chain import reading
from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.events import event
from vyrox.chain.reading import Asked, Found, Place, list_entries
from vyrox.chain.writer import append
from vyrox.store.database import Database, open_database

ACTION: Final[dict[str, Scalar]] = {
    "action_type": "PROCESS_KILL",
    "host": "ws-1",
    "approved_by": "ann",
    "dry_run": False,
}


def draft(kind: str, host: str = "ws-1", tenant_id: str = TENANT) -> Draft:
    if kind == "PROCESS_KILL":
        return Draft(tenant_id, "actions", kind, {**ACTION, "host": host})
    return event(kind, tenant_id, None, host=host)


async def read_all(database: Database, asked: Asked, size: int) -> list[Found]:
    """Return all pages joined."""
    place: Place | None = None
    found: list[Found] = []
    for _ in range(500):
        listed = await database.read(list_entries, asked, place, size)
        assert len(listed.entries) <= size
        found += listed.entries
        place = listed.older
        if place is None:
            return found
    raise AssertionError("the list does not end")


KIND: Final = st.sampled_from(["PROCESS_KILL", "alert.accepted", "incident.opened", "auth.failed"])
WRITTEN: Final = st.lists(
    st.tuples(KIND, st.sampled_from(["ws-1", "ws_1", "WS-1", 'a"b\\%']), st.integers(0, 1)),
    max_size=25,
)
ASKED: Final = st.builds(
    Asked,
    tenant_id=st.just(TENANT),
    stream=st.sampled_from([None, "actions", "events"]),
    kind=st.one_of(st.none(), KIND),
    since=st.one_of(st.none(), st.integers(-1, 20).map(lambda n: float(int(NOW) + n))),
    until=st.one_of(st.none(), st.integers(-1, 20).map(lambda n: float(int(NOW) + n))),
    text=st.sampled_from([None, "ws-1", "ws_1", 'a"b\\%', "nowhere"]),
)


def wanted(written: Sequence[tuple[str, str, int]], asked: Asked) -> list[tuple[int, str, str]]:
    now = int(NOW)
    entries = []
    for kind, host, later in written:
        now += later
        entries.append((now, kind, host))
    found = [
        (at, kind, host)
        for at, kind, host in entries
        if (asked.kind == kind or (asked.kind is None and kind != "alert.accepted"))
        and asked.stream in (None, "actions" if kind == "PROCESS_KILL" else "events")
        and (asked.since is None or at >= asked.since)
        and (asked.until is None or at < asked.until)
        and asked.text in (None, host)
    ]
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(WRITTEN, ASKED, st.integers(1, 5), st.integers(1, 6))
def test_pages_joined_are_the_whole_list_contract_80(
    written: Sequence[tuple[str, str, int]], asked: Asked, size: int, searched: int
) -> None:
    """At equal times too, and if few entries are searched for a page."""

    async def run() -> list[Found]:
        with tempfile.TemporaryDirectory() as directory:
            async with open_database(None, Path(directory)) as database:
                now = NOW
                for kind, host, later in written:
                    now += later
                    await database.write(append, [draft(kind, host)], now)
                return await read_all(database, asked, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MAX_SEARCHED", searched)
        found = asyncio.run(run())
    order = [(each.timestamp, each.stream, each.sequence) for each in found]
    assert order == sorted(order, reverse=True)
    hosts = [(each.timestamp, each.kind, str(each.members["host"])) for each in found]
    assert sorted(hosts) == wanted(written, asked)


async def test_a_list_has_one_tenant_on_both_databases_contract_80(database: Database) -> None:
    drafts = [draft("PROCESS_KILL"), draft("auth.failed", "ü\u202e"), draft("alert.accepted")]
    drafts.append(draft("auth.failed", "ü\u202e", "other"))
    await database.write(append, drafts, NOW)
    assert len(await read_all(database, Asked(TENANT), 1)) == 2
    [found] = await read_all(database, Asked(TENANT, text="ü\u202e"), 5)
    assert (found.tenant_id, found.kind) == (TENANT, "auth.failed")
    assert await read_all(database, Asked("nobody"), 5) == []


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (Asked(TENANT), "audit_log_deeds"),
        (Asked(TENANT, kind="auth.failed"), "audit_log_deeds"),
        (Asked(TENANT, text="ws-1", since=NOW), "audit_log_deeds"),
        (Asked(TENANT, kind="alert.accepted", until=NOW), "sqlite_autoindex_audit_log_1"),
    ],
    ids=["all", "kind", "text", "accepted"],
)
async def test_every_list_reads_an_index_contract_80(
    data_dir: Path, asked: Asked, index: str
) -> None:
    def plan(connection: Connection) -> list[str]:
        with plans(connection) as found:
            list_entries(connection, asked, {"actions": 5, "events": 5}, 50)
        return found

    async with open_database(None, data_dir) as database:
        steps = await database.read(plan)
    assert any(f"INDEX {index} " in step for step in steps)
    assert not [step for step in steps if "SCAN audit_log" in step]
