"""Alerts become rows, once per redelivery window (contract 14, 15 and 17)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only

from tests.audit import FaultyDatabase
from tests.conftest import ready_postgres_database
from tests.polling import PATIENCE_S
from tests.postgres import Postgres
from tests.pragma import set_pragma
from tests.sample_alerts import (
    NOW,
    TENANT,
    WINDOW_S,
    all_ids,
    finish,
    new_alert,
    new_delivery,
    store_all,
)
from tests.store.queries import sqlalchemy_url
from vyrox.alerts import retention
from vyrox.alerts.intake import Delivery, Intake, StoredAlert, dedup_key, store
from vyrox.alerts.quarantine import Unreadable, keep
from vyrox.alerts.retention import delete_expired
from vyrox.chain.writer import ChainWriter
from vyrox.errors import DatabaseUnavailableError
from vyrox.models import Vendor
from vyrox.store.database import Database, open_database
from vyrox.store.tables import alerts, quarantine

DAY_S: Final = 86_400.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Key = tuple[str, Vendor, bytes]
"""A tenant, a source and a body."""


def clear(connection: Connection) -> None:
    connection.execute(alerts.delete())


def holders(connection: Connection) -> dict[bytes, str]:
    """Return the row with each key."""
    query = sa.select(alerts.c.dedup_key, alerts.c.id).where(alerts.c.dedup_key.is_not(None))
    rows = [(bytes(key), alert_id) for key, alert_id in connection.execute(query)]
    assert len(rows) == len(dict(rows))
    return dict(rows)


async def deliver(database: Database, delivery: Delivery) -> StoredAlert:
    [stored] = await store_all(database, delivery)
    return stored


@pytest.mark.parametrize(
    ("tenant_id", "source", "raw"),
    [
        pytest.param("other-corp", "crowdstrike", b"{}", id="allow_other_tenant"),
        pytest.param(TENANT, "generic", b"{}", id="allow_other_source"),
        pytest.param(TENANT, "crowdstrike", b"{ }", id="allow_other_bytes"),
        pytest.param(TENANT, "crowdstrike", b"{}\0", id="allow_one_byte_more"),
    ],
)
async def test_store_other_delivery_is_a_new_alert_contract_14(
    database: Database, tenant_id: str, source: Vendor, raw: bytes
) -> None:
    first = new_delivery(b"{}")
    other = new_delivery(raw, tenant_id, source)
    assert not (await deliver(database, first)).redelivery
    stored = await deliver(database, other)
    assert stored == StoredAlert(other.alert_id, other.alert, finished=False, redelivery=False)


async def test_store_same_bytes_get_the_first_alert_contract_14(database: Database) -> None:
    first = new_delivery(b"{}")
    again = new_delivery(b"{}", received_at=NOW + 10)
    assert not (await deliver(database, first)).redelivery
    stored = await deliver(database, again)
    assert stored == StoredAlert(first.alert_id, first.alert, finished=False, redelivery=True)
    assert await database.read(all_ids) == {first.alert_id}


async def test_store_same_bytes_after_a_restart_get_the_first_alert_contract_14(
    database_url: str | None, data_dir: Path
) -> None:
    first = new_delivery(b"{}")
    async with open_database(database_url, data_dir) as database:
        await deliver(database, first)
    async with open_database(database_url, data_dir) as database:
        assert (await deliver(database, new_delivery(b"{}"))).alert_id == first.alert_id


async def test_store_row_holds_the_alert_and_the_body_as_received_contract_15(
    database: Database,
) -> None:
    raw = bytes(range(256))
    stored = new_delivery(raw)
    columns = (stored.severity, stored.hostname, stored.username, None, None, "evt:1")
    await deliver(database, stored)

    def read(connection: Connection) -> tuple[object, ...]:
        return tuple(connection.execute(sa.select(alerts)).one())

    assert await database.read(read) == (
        stored.alert_id,
        TENANT,
        "crowdstrike",
        dedup_key(TENANT, "crowdstrike", raw),
        NOW,
        stored.alert,
        raw,
        *columns,
        *(None,) * 6,
    )


@pytest.mark.parametrize(
    ("later_s", "redelivery"),
    [
        pytest.param(-1.0, True, id="allow_clock_that_went_back"),
        pytest.param(0.0, True, id="allow_same_moment"),
        pytest.param(WINDOW_S - 0.001, True, id="allow_last_moment"),
        pytest.param(WINDOW_S, False, id="reject_window_over"),
        pytest.param(WINDOW_S + 0.001, False, id="reject_later"),
    ],
)
async def test_store_window_edge_contract_14(
    database: Database, later_s: float, redelivery: bool
) -> None:
    first = new_delivery(b"{}")
    again = new_delivery(b"{}", received_at=NOW + later_s)
    await deliver(database, first)
    stored = await deliver(database, again)
    assert stored.redelivery == redelivery
    assert stored.alert_id == (first if redelivery else again).alert_id


async def test_store_after_the_window_the_new_row_holds_the_key_contract_14(
    database: Database,
) -> None:
    first = new_delivery(b"{}")
    second = new_delivery(b"{}", received_at=NOW + WINDOW_S)
    third = new_delivery(b"{}", received_at=NOW + WINDOW_S + 1)
    for delivery in (first, second):
        await deliver(database, delivery)
    assert await database.read(holders) == {first.dedup_key: second.alert_id}
    assert await database.read(all_ids) == {first.alert_id, second.alert_id}
    assert (await deliver(database, third)).alert_id == second.alert_id


async def test_store_duplicates_in_one_batch_contract_14(database: Database) -> None:
    one, other = new_delivery(b"one"), new_delivery(b"other")
    one_again, other_again = new_delivery(b"one"), new_delivery(b"other")
    stored = await store_all(database, one, other_again, one_again, other)
    assert stored == [
        StoredAlert(one.alert_id, one.alert, finished=False, redelivery=False),
        StoredAlert(other_again.alert_id, other_again.alert, finished=False, redelivery=False),
        StoredAlert(one.alert_id, one.alert, finished=False, redelivery=True),
        StoredAlert(other_again.alert_id, other_again.alert, finished=False, redelivery=True),
    ]


async def test_store_finished_alert_is_said_to_be(database: Database) -> None:
    first = new_delivery(b"{}")
    await deliver(database, first)
    await database.write(finish, first.alert_id, NOW)
    stored = await deliver(database, new_delivery(b"{}"))
    assert stored == StoredAlert(first.alert_id, first.alert, finished=True, redelivery=True)


KEYS: Final[list[Key]] = [
    ("acme", "crowdstrike", b"1"),
    ("acme", "crowdstrike", b"2"),
    ("acme", "generic", b"1"),
    ("beta", "crowdstrike", b"1"),
]

STEP = st.tuples(
    st.sampled_from([0.0, 1.0, WINDOW_S / 2, WINDOW_S - 1.0, float(WINDOW_S), WINDOW_S + 1.0]),
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=6),
    st.sets(st.sampled_from(KEYS)),
)
"""Steps: the seconds that pass, the next batch, and the keys whose alerts are finished then."""


class Model:
    """The row with each key, in memory."""

    def __init__(self) -> None:
        self.held: dict[bytes, tuple[Delivery, bool]] = {}
        self.ids: set[str] = set()

    def store(self, deliveries: Sequence[Delivery]) -> list[StoredAlert]:
        return [self._store(delivery) for delivery in deliveries]

    def _store(self, new: Delivery) -> StoredAlert:
        held, finished = self.held.get(new.dedup_key, (None, False))
        if held is not None and held.received_at > new.received_at - WINDOW_S:
            return StoredAlert(held.alert_id, held.alert, finished, redelivery=True)
        self.held[new.dedup_key] = new, False
        self.ids.add(new.alert_id)
        return StoredAlert(new.alert_id, new.alert, finished=False, redelivery=False)

    def finish(self, key: bytes) -> str | None:
        if key not in self.held:
            return None
        held, _ = self.held[key]
        self.held[key] = held, True
        return held.alert_id


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEP, max_size=8))
async def test_store_agrees_with_a_model_contract_14(
    database: Database,
    steps: list[tuple[float, list[Key], set[Key]]],
) -> None:
    await database.write(clear)
    model = Model()
    now = NOW
    for passed_s, batch, finished in steps:
        now += passed_s
        deliveries = [new_delivery(raw, tenant_id, source, now) for tenant_id, source, raw in batch]
        assert await store_all(database, *deliveries) == model.store(deliveries)
        for key in finished:
            if (alert_id := model.finish(dedup_key(*key))) is not None:
                await database.write(finish, alert_id, now)
    held = {key: delivery.alert_id for key, (delivery, _) in model.held.items()}
    assert await database.read(holders) == held
    assert await database.read(all_ids) == model.ids


def test_dedup_key_parts_do_not_run_together() -> None:
    sources: tuple[Vendor, ...] = ("crowdstrike", "generic")
    raws = (b"", b"generic", b"\0", b"a\0generic\0")
    triples = list(itertools.product(("a", "ageneric"), sources, raws))
    assert len({dedup_key(*triple) for triple in triples}) == len(triples)


@pytest.mark.parametrize("expired", [False, True], ids=["allow_new_keys", "allow_expired_keys"])
async def test_store_two_containers_with_the_same_keys_do_not_deadlock_contract_14(
    database_url: str | None, data_dir: Path, expired: bool
) -> None:
    later = NOW + WINDOW_S
    raws = [str(number).encode() for number in range(200)]
    async with (
        open_database(database_url, data_dir) as one,
        open_database(database_url, data_dir) as other,
    ):
        if expired:
            await store_all(one, *(new_delivery(raw) for raw in raws))
        for number in range(3):
            raws = [*raws, *(f"{number} {raw!r}".encode() for raw in raws[:20])]
            forward = [new_delivery(raw, received_at=later) for raw in raws]
            backward = [new_delivery(raw, received_at=later) for raw in reversed(raws)]
            stored, again = await asyncio.gather(
                store_all(one, *forward), store_all(other, *backward)
            )
            assert [s.alert_id for s in stored] == [s.alert_id for s in reversed(again)]
            for mine, theirs in zip(stored, reversed(again), strict=True):
                assert mine.redelivery or theirs.redelivery
            assert set((await one.read(holders)).values()) == {s.alert_id for s in stored}


async def test_store_releases_keys_in_their_order_whatever_the_plan_contract_14(
    postgres: Postgres, data_dir: Path
) -> None:
    """Two query plans read the rows in opposite orders; updates in these orders deadlock."""
    later = NOW + WINDOW_S
    together = asyncio.Barrier(2)
    deliveries = sorted(
        (new_delivery(str(number).encode()) for number in range(100)),
        key=lambda delivery: delivery.dedup_key,
    )

    def store_by(connection: Connection, scan: str) -> list[StoredAlert]:
        for other in {"enable_seqscan", "enable_indexscan", "enable_bitmapscan"} - {scan}:
            connection.execute(sa.text(f"SET LOCAL {other} = off"))
        again = [new_delivery(held.raw, received_at=later) for held in deliveries]
        with connection.begin_nested() as nested:
            store(connection, again[:1], WINDOW_S)  # the first call takes longest
            nested.rollback()
        await_only(together.wait())
        return store(connection, again, WINDOW_S)

    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        for held in reversed(deliveries):  # the order in the table is opposite to the index
            await store_all(database, held)
        stored, again = await asyncio.gather(
            database.write(store_by, "enable_seqscan"),
            database.write(store_by, "enable_indexscan"),
        )
        assert [s.alert_id for s in stored] == [s.alert_id for s in again]


async def quarantined(database: Database, raw: bytes, at: float) -> None:
    await database.write(keep, [Unreadable(TENANT, "generic", raw, "why", at)], 1 << 30)


async def test_delete_expired_deletes_large_bodies_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.alerts.retention.MAX_DELETED_BYTES", 25)
    counted = FaultyDatabase(database)
    for number in range(5):
        stored = new_delivery(b"%d" % number * 10)
        await store_all(database, stored)
        await database.write(finish, stored.alert_id, NOW)
        await quarantined(database, b"%d" % number * 30, NOW)
    assert await delete_expired(counted, 1.0, NOW + 2) == 10
    assert counted.writes == 8  # three bodies of 10, two; one of 30 each; then nothing
    assert await database.read(all_ids) == set()


async def test_delete_expired_waits_for_nobody_who_holds_a_row(
    postgres: Postgres, data_dir: Path
) -> None:
    """It waits neither for a redelivery that updates the row nor for another container."""
    url = await ready_postgres_database(postgres)
    async with open_database(url, data_dir) as database:
        held, free = new_delivery(b"held"), new_delivery(b"free")
        await store_all(database, held, free)
        for delivery in (held, free):
            await database.write(finish, delivery.alert_id, NOW)
        engine = create_async_engine(sqlalchemy_url(url))
        async with engine.begin() as connection:
            await connection.run_sync(finish, held.alert_id, NOW)
            assert await delete_expired(database, 1.0, NOW + 2) == 1
        await engine.dispose()
        assert await database.read(all_ids) == {held.alert_id}
        assert await delete_expired(database, 1.0, NOW + 2) == 1


async def count_rows(database: Database, table: sa.Table) -> int:
    return await database.read(
        lambda connection: connection.execute(
            sa.select(sa.func.count()).select_from(table)
        ).scalar_one()
    )


@asynccontextmanager
async def running(writer: ChainWriter) -> AsyncIterator[None]:
    task = asyncio.create_task(writer.run())
    yield
    task.cancel()
    await asyncio.wait([task])


async def test_accept_same_bytes_many_at_once_are_one_row_contract_14(database: Database) -> None:
    writer = ChainWriter(database, lambda: NOW)
    intake = Intake(writer, WINDOW_S)
    async with running(writer):
        stored = await asyncio.gather(
            *(intake.accept(new_alert(), b"{}", NOW + number, "r") for number in range(50))
        )
    [alert_id] = {one.alert_id for one in stored}
    assert await database.read(all_ids) == {alert_id}
    assert sorted(one.redelivery for one in stored) == [False, *[True] * 49]


async def test_accept_without_the_database_is_unavailable_and_then_works_contract_17(
    data_dir: Path,
) -> None:
    async with open_database(None, data_dir) as database:
        writer = ChainWriter(database, lambda: NOW)
        intake = Intake(writer, WINDOW_S)
        async with running(writer):
            await set_pragma(database, "query_only = ON")
            for _ in range(2):
                with pytest.raises(DatabaseUnavailableError):
                    await intake.accept(new_alert(), b"{}", NOW, "r")
            await set_pragma(database, "query_only = OFF")
            assert not (await intake.accept(new_alert(), b"{}", NOW, "r")).redelivery
            assert (await intake.accept(new_alert(), b"{}", NOW, "r")).redelivery


async def test_delete_expired_deletes_what_is_finished_and_old_alone(database: Database) -> None:
    finished_at = {
        "old": NOW - 90 * DAY_S - 1,
        "edge": NOW - 90 * DAY_S,
        "young": NOW - DAY_S,
        "unfinished": None,
    }
    ids = {}
    for name, at in finished_at.items():
        stored = new_delivery(name.encode(), received_at=NOW - 1000 * DAY_S)
        await deliver(database, stored)
        if at is not None:
            await database.write(finish, stored.alert_id, at)
        ids[name] = stored.alert_id
    assert await delete_expired(database, 90 * DAY_S, NOW) == 1
    assert await database.read(all_ids) == {ids[name] for name in ("edge", "young", "unfinished")}
    assert await delete_expired(database, 90 * DAY_S, NOW) == 0


async def test_delete_expired_deletes_what_was_last_quarantined_long_ago(
    database: Database,
) -> None:
    for raw, received_at in ((b"old", NOW - 91 * DAY_S), (b"young", NOW - 89 * DAY_S)):
        await quarantined(database, raw, received_at)
    await quarantined(database, b"again", NOW - 91 * DAY_S)
    await quarantined(database, b"again", NOW)
    assert await delete_expired(database, 90 * DAY_S, NOW) == 1
    assert await count_rows(database, quarantine) == 2


class Counting:
    """Runs transactions, and records the result of each write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read = database.read
        self.returned: list[object] = []

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = PATIENCE_S,
        pause: bool = False,
    ) -> T:
        returned = await self._database.write(transaction, *args, timeout_s=timeout_s, pause=pause)
        self.returned.append(returned)
        return returned


async def test_delete_expired_goes_on_in_small_transactions_to_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_DELETED_ROWS", 7)
    deliveries = [new_delivery(str(number).encode()) for number in range(30)]
    await store_all(database, *deliveries)
    for delivery in deliveries[5:]:
        await database.write(finish, delivery.alert_id, NOW)
    counting = Counting(database)
    assert await delete_expired(counting, 1.0, NOW + 2) == 25
    assert counting.returned == [7, 7, 7, 4, 0]
    assert await database.read(all_ids) == {delivery.alert_id for delivery in deliveries[:5]}
