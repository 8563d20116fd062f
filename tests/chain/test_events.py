"""Audit events without a transaction: noted at once, written later, limited (contract 27)."""

import asyncio
import itertools
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.audit import TENANT, Clock, Entry, FaultyDatabase, events, running_writer
from vyrox import log
from vyrox.chain import events as audit_events
from vyrox.chain.entry import GENESIS, SERVICE, Draft, seal
from vyrox.chain.events import (
    MAX_OWN_SUMS,
    MAX_TEXT,
    PER_SECOND,
    SUMS_INTERVAL_S,
    AuditEvents,
    Budget,
    event,
    write_events,
)
from vyrox.errors import DatabaseUnavailableError
from vyrox.store.database import Database


def summary(entries: list[Entry]) -> list[object]:
    """Return the request ids, and the numbers of those that were only counted."""
    return [entry.get("not_written", entry["request_id"]) for entry in entries]


def note(noting: AuditEvents, numbers: range, kind: str = "k", tenant_id: str = TENANT) -> None:
    for number in numbers:
        noting.note(kind, tenant_id, f"{number}")


async def test_note_is_written_with_the_next_flush_in_order_contract_27(
    database: Database,
) -> None:
    async with running_writer(database) as writer:
        noting = AuditEvents(writer, Clock())
        await noting.flush()
        noting.note("auth.failed", SERVICE, "r1", failure="bad_signature", claimed_tenant=None)
        noting.note("audit.exported", TENANT, "r2", lines=True)
        noting.note("audit.exported", TENANT, "r3", lines=False)
        await noting.flush()
        await noting.flush()
    [failed] = await events(database, SERVICE)
    assert failed["kind"] == "auth.failed"
    assert failed["failure"] == "bad_signature"
    assert failed["claimed_tenant"] is None
    exported = await events(database)
    assert [(entry["request_id"], entry["lines"]) for entry in exported] == [
        ("r2", True),
        ("r3", False),
    ]


async def test_note_beyond_ten_a_second_is_written_as_one_number(database: Database) -> None:
    clock = Clock(1000.0)
    async with running_writer(database) as writer:
        noting = AuditEvents(writer, clock)
        note(noting, range(100))
        note(noting, range(PER_SECOND), kind="other kind")
        note(noting, range(PER_SECOND), tenant_id="other-corp")
        await noting.flush()
        clock.now += 0.9
        note(noting, range(100, 105))
        await noting.flush()
        clock.now += 0.1
        note(noting, range(200, 205))
        await noting.flush()
    written = [f"{number}" for number in range(PER_SECOND)]
    assert summary(await events(database, kind="k")) == [
        *written,
        *(f"{number}" for number in range(200, 205)),
        95,
    ]
    assert summary(await events(database, kind="other kind")) == written
    assert summary(await events(database, "other-corp")) == written


async def test_flush_while_the_database_is_unavailable_keeps_all_for_later(
    database: Database,
) -> None:
    faulty = FaultyDatabase(database)
    async with running_writer(faulty) as writer:
        noting = AuditEvents(writer, Clock())
        note(noting, range(12))
        faulty.always = "before"
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                await noting.flush()
        note(noting, range(3), tenant_id="other-corp")
        faulty.always = None
        await noting.close()
    assert summary(await events(database)) == [*(f"{number}" for number in range(10)), 2]
    assert summary(await events(database, "other-corp")) == ["0", "1", "2"]


async def test_flush_with_a_commit_that_was_not_seen_writes_again(database: Database) -> None:
    """An event may be written twice, but is never lost."""
    faulty = FaultyDatabase(database)
    async with running_writer(faulty) as writer:
        noting = AuditEvents(writer, Clock())
        note(noting, range(2))
        faulty.faults = {1: "after"}
        with pytest.raises(DatabaseUnavailableError):
            await noting.flush()
        await noting.flush()
    assert summary(await events(database)) == ["0", "1", "0", "1"]


async def turns() -> None:
    """Let every task run until it waits for the database."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("others", [0, 1])
async def test_flush_cancelled_continues_and_writes_once(database: Database, others: int) -> None:
    """Both while its events are written and while they wait behind another write."""
    faulty = FaultyDatabase(database)
    faulty.gate.clear()
    async with running_writer(faulty) as writer:
        tasks = [asyncio.create_task(writer.commit(write_events, ())) for _ in range(others)]
        await turns()
        noting = AuditEvents(writer, Clock())
        note(noting, range(3))
        flushing = asyncio.create_task(noting.flush())
        await turns()
        flushing.cancel()
        await asyncio.wait([flushing])
        note(noting, range(3, 5))
        last = asyncio.create_task(noting.flush())
        faulty.gate.set()
        await asyncio.gather(last, *tasks)
    assert summary(await events(database)) == ["0", "1", "2", "3", "4"]


async def test_flush_called_twice_at_once_writes_once(database: Database) -> None:
    async with running_writer(database) as writer:
        noting = AuditEvents(writer, Clock())
        note(noting, range(5))
        await asyncio.gather(noting.flush(), noting.flush(), noting.flush())
    assert summary(await events(database)) == ["0", "1", "2", "3", "4"]


async def test_flush_event_that_is_not_a_valid_entry_fails_alone(database: Database) -> None:
    lost = log.counts["audit.event_lost"]
    async with running_writer(database) as writer:
        noting = AuditEvents(writer, Clock())
        note(noting, range(3))
        noting.note("k", TENANT, "bad", number=2**60)
        note(noting, range(3, 6))
        await noting.flush()
    assert summary(await events(database)) == ["0", "1", "2", "3", "4", "5"]
    assert log.counts["audit.event_lost"] == lost + 1


async def test_note_beyond_the_memory_limit_is_written_as_a_number(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_events, "MAX_NOTED", 6)
    faulty = FaultyDatabase(database)
    faulty.always = "before"
    async with running_writer(faulty) as writer:
        noting = AuditEvents(writer, Clock())
        note(noting, range(4))
        note(noting, range(4), tenant_id="other-corp")
        with pytest.raises(DatabaseUnavailableError):
            await noting.flush()
        note(noting, range(4, 8))
        faulty.always = None
        await noting.close()
    assert summary(await events(database)) == ["0", "1", "2", "3", 4]
    assert summary(await events(database, "other-corp")) == ["0", "1", 2]


def fail(noting: AuditEvents, tenant_id: str | None, count: int) -> None:
    for _ in range(count):
        noting.note_unauthenticated("auth.failed", tenant_id, "r", claimed_tenant=tenant_id)


def numbers(entries: list[Entry]) -> list[tuple[object, object]]:
    """Return the tenant of each event, and how many events it represents."""
    return [(entry["resolved_tenant"], entry.get("not_written", 1)) for entry in entries]


async def test_events_without_a_credential_share_one_budget_contract_47(
    database: Database,
) -> None:
    """For all tenants together: in the service's chain, with a sum for each once a minute."""
    clock = Clock(1000.0)
    async with running_writer(database) as writer:
        noting = AuditEvents(writer, clock, Budget(per_second=3))
        fail(noting, "known", 2)
        fail(noting, None, 2)
        fail(noting, "other", 5)
        note(noting, range(PER_SECOND))
        clock.now += 1
        fail(noting, "known", 1)
        await noting.flush()
        written = [("known", 1), ("known", 1), (None, 1), ("known", 1)]
        assert numbers(await events(database, SERVICE)) == written
        clock.now += SUMS_INTERVAL_S - 1
        await noting.flush()
        assert numbers(await events(database, SERVICE)) == written
        clock.now += 1
        await noting.flush()
    assert numbers(await events(database, SERVICE)) == [*written, ("other", 5), (None, 1)]
    assert await events(database, "known") == []
    assert len(await events(database)) == PER_SECOND


async def test_events_without_a_credential_take_so_many_bytes_a_day_contract_47(
    database: Database,
) -> None:
    """There are few sums for many tenants, because an attacker can choose the names."""
    clock = Clock(0.0)
    async with running_writer(database) as writer:
        noting = AuditEvents(writer, clock, Budget(1000, bytes_per_day=3000))
        fail(noting, "known", 100)
        for number in range(MAX_OWN_SUMS + 9):
            fail(noting, f"tenant-{number}", 1)
        await noting.close()
        first_day = await events(database, SERVICE)
        clock.now += 86_400
        fail(noting, "known", 1)
        await noting.close()
    single = [entry for entry in first_day if "not_written" not in entry]
    sums = [entry for entry in first_day if "not_written" in entry]
    assert 1 < len(single) < 5
    assert sum(int(str(entry["not_written"])) for entry in sums) == 109 + MAX_OWN_SUMS - len(single)
    assert numbers(sums)[0] == ("known", 100 - len(single))
    assert len(sums) == MAX_OWN_SUMS + 1
    assert (numbers(sums)[-1], sums[-1]["tenants"]) == ((None, 10), 10)
    assert numbers(await events(database, SERVICE))[-1] == ("known", 1)


async def test_events_without_a_credential_beyond_memory_are_summed_up_contract_47(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_events, "MAX_NOTED", 2)
    async with running_writer(database) as writer:
        noting = AuditEvents(writer, Clock())
        fail(noting, None, 5000)
        await noting.close()
    assert numbers(await events(database, SERVICE)) == [(None, 1), (None, 1), (None, 4998)]


_examples = itertools.count()

a_step = st.one_of(
    st.tuples(st.sampled_from(["k", "l"]), st.integers(1, 30)),
    st.sampled_from(["a second later", "flush", "flush in vain"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(a_step, max_size=20))
async def test_note_and_flush_write_each_once_in_any_order(
    database: Database, steps: list[tuple[str, int] | str]
) -> None:
    tenant_id = f"example-{next(_examples)}"
    clock = Clock()
    faulty = FaultyDatabase(database)
    noted: Counter[object] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_events, "MAX_NOTED", 25)
        patch.setattr(audit_events, "MAX_WRITTEN_TOGETHER", 8)
        async with running_writer(faulty) as writer:
            noting = AuditEvents(writer, clock)
            for step in steps:
                if isinstance(step, tuple):
                    kind, count = step
                    note(noting, range(count), kind, tenant_id)
                    noted[kind] += count
                elif step == "a second later":
                    clock.now += 1
                elif step == "flush":
                    await noting.flush()
                elif noted:
                    faulty.always = "before"
                    await asyncio.gather(noting.flush(), return_exceptions=True)
                    faulty.always = None
            await noting.close()
    written: Counter[object] = Counter()
    for entry in await events(database, tenant_id):
        number = entry.get("not_written", 1)
        assert isinstance(number, int)
        written[entry["kind"]] += number
    assert written == noted


@example(text="\ud800" * 100_000, name="\0" * 100_000)
@given(text=st.text(st.characters()), name=st.text())
def test_event_with_any_text_makes_an_entry(text: str, name: str) -> None:
    draft = event("execute.outcome", TENANT, text, reason=text, host=name, gone=None)
    assert all(len(str(value)) <= MAX_TEXT for value in draft.members.values())
    assert draft.members["host"] == name[:MAX_TEXT]
    sealed = seal({**draft.members, "tenant_id": TENANT}, GENESIS, 0)
    assert sealed.json


def test_event_is_a_draft_of_the_tenants_chain_of_events() -> None:
    assert event("k", TENANT, None, number=1) == Draft(
        TENANT, "events", "k", {"kind": "k", "request_id": None, "number": 1}
    )
