"""The export: a snapshot of one chain, in constant memory (contract 26)."""

import itertools
import tracemalloc

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, action, entries, noted
from vyrox.chain import export
from vyrox.chain.entry import SERVICE, Draft
from vyrox.chain.events import event
from vyrox.chain.export import Wanted, pages
from vyrox.chain.verify import Chain, TamperedError
from vyrox.chain.writer import append
from vyrox.store.database import Database

EVERYTHING = Wanted(tenant_id=None, kind=None, since=0)


async def add(database: Database, *drafts: Draft, now: float = NOW) -> None:
    await database.write(append, drafts, now)


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 3)


async def test_pages_hold_every_entry_once_and_in_order_contract_26(
    database: Database, short_pages: None
) -> None:
    for count in (1, 2, 3, 4, 6, 7):
        tenant_id = f"tenant-{count}"
        await add(database, *(action(f"{number}", tenant_id) for number in range(count)))
        lengths = [len(page) async for page in pages(database, tenant_id, "actions")]
        assert lengths == [3] * (count // 3) + [count % 3] * (count % 3 > 0)
        hosts = [entry["host"] for entry in await entries(database, tenant_id)]
        assert hosts == [f"{number}" for number in range(count)]


async def test_pages_of_a_tenant_without_entries_are_none_contract_26(database: Database) -> None:
    await add(database, action("other", "other-corp"), noted(1))
    assert [page async for page in pages(database, TENANT, "actions")] == []


async def test_pages_hold_no_other_tenants_entries_nor_events_contract_26(
    database: Database, short_pages: None
) -> None:
    for number in range(4):
        others = [action(f"{number}", name) for name in ("acme", "acme-corp2", "ACME-CORP", "z")]
        await add(database, *others, action(f"{number}"), noted(number), noted(number, SERVICE))
    found = await entries(database)
    assert [entry["tenant_id"] for entry in found] == [TENANT] * 4
    assert [entry["host"] for entry in found] == ["0", "1", "2", "3"]


async def test_pages_are_those_that_were_committed_when_the_export_began_contract_26(
    database: Database, short_pages: None
) -> None:
    await add(database, *(action(f"{number}") for number in range(7)))
    lines: list[bytes] = []
    async for page in pages(database, TENANT, "actions"):
        lines += page
        await add(database, *(action("later") for _ in range(5)))
    chain = Chain()
    for line in lines:
        chain.add(line)
    assert chain.entries == 7
    assert len(await entries(database)) == 7 + 3 * 5


async def test_pages_of_a_chain_with_rows_deleted_on_end_are_never_empty(
    database: Database, short_pages: None
) -> None:
    """An empty page would make the JSON invalid. The verifier reports what is missing."""

    def delete(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
        else:
            connection.execute(sa.text("DROP TRIGGER audit_log_no_delete"))
        connection.execute(sa.text("DELETE FROM audit_log WHERE sequence BETWEEN 2 AND 7"))

    await add(database, *(action(f"{number}") for number in range(10)))
    await database.write(delete)
    assert [len(page) async for page in pages(database, TENANT, "actions")] == [1, 2, 1]
    with pytest.raises(TamperedError) as caught:
        await entries(database)
    assert caught.value.number == 2


async def test_pages_take_no_more_memory_for_a_longer_chain_contract_26(
    database: Database,
) -> None:
    drafts = [action(f"{number:0200}") for number in range(10_000)]
    await add(database, *drafts)
    del drafts
    size_bytes = 0
    tracemalloc.start()
    async for page in pages(database, TENANT, "actions"):
        size_bytes += sum(map(len, page))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size_bytes > 4_000_000
    assert peak_bytes < 2_500_000


def an_event(name: str, tenant_id: str = TENANT, kind: str = "execute.refused") -> Draft:
    return event(kind, tenant_id, name)


async def yielded(
    database: Database, wanted: Wanted = EVERYTHING, seen: dict[str, int] | None = None
) -> list[str]:
    """Return the request ids of the events, in the order in which they are given."""
    found: list[str] = []
    async for page in export.events(database, wanted, {} if seen is None else seen):
        found += [msgspec.json.decode(line)["request_id"] for line in page]
    return found


async def test_events_of_all_chains_come_in_order_of_time_and_no_actions_among_them(
    database: Database, short_pages: None
) -> None:
    await add(database, an_event("b2", "b"), an_event("a3", "a"), an_event("b3", "b"), now=NOW + 2)
    await add(database, an_event("c1", "c"), an_event("s1", SERVICE), action("host"), now=NOW)
    await add(database, an_event("c4", "c"), an_event("a4", "a"), now=NOW + 2)
    assert await yielded(database) == ["s1", "c1", "a3", "a4", "b2", "b3", "c4"]


WANTED = {
    "allow_all": (EVERYTHING, ["1", "2", "3", "4", "5"]),
    "allow_tenant": (Wanted(TENANT, None, 0), ["1", "3", "5"]),
    "allow_the_service": (Wanted(SERVICE, None, 0), ["2", "5"]),
    "reject_tenant_without_events": (Wanted("acme", None, 0), []),
    "allow_kind": (Wanted(None, "auth.failed", 0), ["2", "3", "5"]),
    "reject_part_of_a_kind": (Wanted(None, "auth", 0), []),
    "allow_tenant_and_kind": (Wanted(TENANT, "auth.failed", 0), ["3", "5"]),
    "allow_since": (Wanted(None, None, int(NOW) + 1), ["2", "3", "4", "5"]),
    "reject_before_since": (Wanted(None, None, int(NOW) + 2), ["3", "4", "5"]),
    "reject_all_before_since": (Wanted(None, None, int(NOW) + 9), []),
    "reject_other_kind": (Wanted("x", "auth.failed", int(NOW) + 3), []),
}


async def test_events_are_those_wanted_contract_47(database: Database) -> None:
    """The events of a tenant are its own, and the service's events that name it."""
    await add(database, an_event("1"), now=NOW)
    await add(database, an_event("2", SERVICE, "auth.failed"), now=NOW + 1)
    await add(database, an_event("3", TENANT, "auth.failed"), now=NOW + 2)
    await add(database, an_event("4", "x"), now=NOW + 3)
    failed = event("auth.failed", SERVICE, "5", resolved_tenant=TENANT)
    await add(database, failed, now=NOW + 4)
    for name, (wanted, expected) in WANTED.items():
        assert await yielded(database, wanted) == expected, name


async def test_events_already_seen_are_left_out_and_late_ones_of_an_earlier_time_are_not(
    database: Database, short_pages: None
) -> None:
    """The clock of another container is behind, or its commit took longer."""
    seen: dict[str, int] = {}
    await add(database, *(an_event(f"{number}") for number in range(5)), now=NOW)
    assert len(await yielded(database, seen=seen)) == 5
    assert await yielded(database, seen=seen) == []
    await add(database, an_event("late", "other-corp"), now=NOW - 60)
    await add(database, an_event("new"), now=NOW)
    assert await yielded(database, seen=seen) == ["late", "new"]
    assert await yielded(database, seen=seen) == []


async def test_events_committed_between_two_pages_are_given_the_next_time(
    database: Database, short_pages: None
) -> None:
    """The next event of a chain must not hide an event with an earlier second."""
    seen: dict[str, int] = {}
    count = 0
    await add(database, *(an_event(f"b{number}", "b") for number in range(3)), now=NOW)
    await add(database, an_event("b3", "b"), now=NOW + 1)
    async for page in export.events(database, EVERYTHING, seen):
        count += len(page)
        await add(database, an_event("behind", "a"), now=NOW)
        await add(database, an_event("ahead", "a"), now=NOW + 1)
    assert count == 4
    assert await yielded(database, seen=seen) == ["behind", "ahead"] * 2


_bases = itertools.count(int(NOW), 1_000_000)

a_step = st.one_of(
    st.tuples(st.sampled_from(["a", "b", SERVICE]), st.sampled_from(["x", "y"]), st.integers(0, 9)),
    st.just("read"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(a_step, max_size=15), kind=st.sampled_from([None, "x"]))
async def test_events_followed_are_each_yielded_once_with_any_clocks(
    database: Database,
    short_pages: None,
    steps: list[tuple[str, str, int] | str],
    kind: str | None,
) -> None:
    base = next(_bases)  # after the entries of all earlier examples
    wanted = Wanted(None, kind, base)
    seen = dict.fromkeys(("a", "b", SERVICE), 0)
    expected: list[str] = []
    found: list[str] = []
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            tenant_id, its_kind, offset_s = step
            await add(database, an_event(f"{number}", tenant_id, its_kind), now=base + offset_s)
            expected += [f"{number}"] * (kind in (None, its_kind))
        else:
            found += await yielded(database, wanted, seen)
    found += await yielded(database, wanted, seen)
    assert sorted(found) == sorted(expected)
