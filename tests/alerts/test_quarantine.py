"""Invalid payloads are kept once, listed, dismissed and replayed (contract 16 and 46)."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sample_alerts import (
    NOW,
    TENANT,
    WINDOW_S,
    all_ids,
    finish,
    new_alert,
    new_delivery,
    store_all,
    unfinished,
)
from vyrox.adapters import ADAPTERS
from vyrox.adapters.tolerant_json import tolerant
from vyrox.alerts.quarantine import (
    ROW_BYTES,
    Unreadable,
    delete_last_received_before,
    keep,
)
from vyrox.alerts.quarantine_review import (
    Quarantined,
    count_quarantined,
    dismiss,
    list_quarantined,
    read_quarantined,
    replay,
)
from vyrox.errors import NormalizationError, OperatorError
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.store.database import Database
from vyrox.store.tables import quarantine


async def kept(database: Database, tenant_id: str = TENANT) -> list[Quarantined]:
    return await database.read(list_quarantined, tenant_id)


async def keep_one(
    database: Database, raw: bytes = b"{}", source: Vendor = "generic", at: float = NOW
) -> Quarantined:
    """Keep `raw`, and return its row in the list."""
    await put(database, raw, source, at=at)
    return (await kept(database))[-1]


async def put(
    database: Database,
    raw: bytes,
    source: Vendor = "generic",
    reason: str = "why",
    at: float = NOW,
    tenant_id: str = TENANT,
    max_bytes: int = 1 << 30,
) -> bool:
    """Keep `raw`; return whether there was room for it."""
    payload = Unreadable(tenant_id, source, raw, reason, at)
    [is_kept] = await database.write(keep, [payload], max_bytes)
    return is_kept


async def replay_one(database: Database, row: Quarantined, at: float) -> NormalizedAlert:
    """Replay the payload as an alert, and return the alert."""
    alert = new_alert(row.tenant_id, row.source)
    _, raw = await database.read(read_quarantined, row.tenant_id, row.id)
    await database.write(replay, row, raw, alert, at)
    return alert


async def test_keep_same_bytes_once_and_counted_contract_16(database: Database) -> None:
    raw = bytes(range(256))
    for number in range(5):
        await put(database, raw, reason=f"reason {number}", at=NOW + number)
    [row] = await kept(database)
    assert row == Quarantined(
        id=row.id,
        tenant_id=TENANT,
        source="generic",
        reason="reason 4",
        size_bytes=256,
        deliveries=5,
        first_received_at=NOW,
        last_received_at=NOW + 4,
        replayed_at=None,
        alert_id=None,
    )
    assert await database.read(read_quarantined, TENANT, row.id) == (row, raw)


async def test_keep_same_bytes_many_at_once_contract_16(database: Database) -> None:
    await asyncio.gather(*(put(database, b"{}") for _ in range(20)))
    [row] = await kept(database)
    assert row.deliveries == 20


async def test_keep_tenants_and_sources_apart_contract_16(database: Database) -> None:
    sources: tuple[Vendor, ...] = ("crowdstrike", "generic")
    for number in range(10):
        for source in sources:
            await put(database, b"{}", source, f"why {number}", tenant_id=f"tenant-{number}")
    for number in range(10):
        rows = await kept(database, f"tenant-{number}")
        assert sorted((row.source, row.reason, row.deliveries) for row in rows) == [
            ("crowdstrike", f"why {number}", 1),
            ("generic", f"why {number}", 1),
        ]
    counted = await database.read(count_quarantined)
    assert counted == {f"tenant-{number}": 2 for number in range(10)}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=40),
        st.text(max_size=20).map(lambda t: f'{{"id":{t}'.encode("utf-8", "surrogatepass")),
    )
)
async def test_keep_takes_the_reason_of_whatever_a_sender_signs_contract_16(
    database: Database, body: bytes
) -> None:
    """A reason may quote text that databases reject: NUL, lone surrogates."""
    await database.write(lambda connection: connection.execute(quarantine.delete()).rowcount)
    for vendor, adapter in ADAPTERS.items():
        with pytest.raises(NormalizationError) as caught:
            adapter.normalize(
                tolerant(body), Tenant(TENANT, {"raw_id": "id", "hostname": "id"}), NOW
            )
        await put(database, body, vendor, str(caught.value))
    assert len(await kept(database)) == len(ADAPTERS)


async def test_list_quarantined_oldest_first(database: Database) -> None:
    for received_at in (NOW + 2, NOW, NOW + 1):
        raw = str(received_at).encode()
        await put(database, raw, at=received_at)
    assert [row.first_received_at for row in await kept(database)] == [NOW, NOW + 1, NOW + 2]


async def test_read_quarantined_of_another_tenant_is_refused(database: Database) -> None:
    row = await keep_one(database)
    with pytest.raises(OperatorError, match="other-corp has no quarantined payload"):
        await database.read(read_quarantined, "other-corp", row.id)


async def test_read_quarantined_unknown_id_is_refused(database: Database) -> None:
    with pytest.raises(OperatorError):
        await database.read(read_quarantined, TENANT, "unknown")


async def test_replay_stores_the_alert_and_marks_the_payload_contract_16(
    database: Database,
) -> None:
    row = await keep_one(database)
    alert = await replay_one(database, row, NOW + 60)
    assert await unfinished(database) == {(TENANT, alert.id)}
    [after] = await kept(database)
    assert (after.replayed_at, after.alert_id) == (NOW + 60, alert.id)
    assert await database.read(count_quarantined) == {}


async def test_replay_twice_is_one_alert_contract_16(database: Database) -> None:
    row = await keep_one(database)
    first = await replay_one(database, row, NOW + 60)
    await replay_one(database, row, NOW + 120)
    assert await database.read(all_ids) == {first.id}
    assert [after.alert_id for after in await kept(database)] == [first.id]


@pytest.mark.parametrize("at", [NOW + 60, NOW + 60 + 2 * WINDOW_S])
async def test_replay_of_bytes_that_were_accepted_meanwhile_is_their_alert_contract_14(
    database: Database, at: float
) -> None:
    """However old it is: a replay is not limited by the redelivery window."""
    row = await keep_one(database)
    accepted = new_delivery(b"{}", TENANT, "generic", NOW + 30)
    await store_all(database, accepted)
    await database.write(finish, accepted.alert_id, NOW + 40)
    stored = await database.write(replay, row, b"{}", new_alert(TENANT, "generic"), at)
    assert (stored.alert_id, stored.finished, stored.redelivery) == (accepted.alert_id, True, True)


async def test_keep_again_after_a_replay_is_to_be_replayed_again_contract_16(
    database: Database,
) -> None:
    await replay_one(database, await keep_one(database), NOW + 60)
    await keep_one(database, at=NOW + 120)
    [row] = await kept(database)
    assert (row.replayed_at, row.deliveries) == (None, 2)
    assert await database.read(count_quarantined) == {TENANT: 1}


async def test_keep_in_one_transaction_counts_repeats_once_contract_16(database: Database) -> None:
    payloads = [
        Unreadable(TENANT, "generic", raw, reason, NOW)
        for raw, reason in ((b"1", "a"), (b"2", "b"), (b"1", "c"))
    ]
    assert await database.write(keep, payloads, 1 << 30) == [True] * 3
    assert sorted((row.reason, row.deliveries) for row in await kept(database)) == [
        ("b", 1),
        ("c", 2),
    ]


async def test_keep_beyond_the_limit_only_counts_contract_46(database: Database) -> None:
    room = 2 * (ROW_BYTES + 100)
    bodies = [bytes([number]) * 100 for number in range(5)]
    kept_bodies = [
        await put(database, raw, at=NOW + number, max_bytes=room)
        for number, raw in enumerate(bodies)
    ]
    assert kept_bodies == [True] * 2 + [False] * 3
    # The same bytes need no more room, and another tenant has a limit of its own.
    assert await put(database, bodies[0], max_bytes=room)
    assert await put(database, bodies[4], tenant_id="other-corp", max_bytes=room)
    rows = await kept(database)
    assert [(row.size_bytes, row.deliveries, row.only_counted) for row in rows] == [
        (100, 2, False),
        (100, 1, False),
        (0, 3, True),
    ]
    with pytest.raises(OperatorError, match="has no body"):
        await database.read(read_quarantined, TENANT, rows[2].id)


async def test_keep_makes_room_of_dismissed_rows_and_then_of_replayed_ones_contract_46(
    database: Database,
) -> None:
    room = 3 * (ROW_BYTES + 2)
    rows = [
        await keep_one(database, raw, at=NOW + n) for n, raw in enumerate((b"{}", b"[]", b"11"))
    ]
    await replay_one(database, rows[0], NOW + 10)
    await database.write(dismiss, TENANT, [rows[1].id], NOW + 20)
    assert await database.read(count_quarantined) == {TENANT: 1}
    remaining = []
    for raw in (b"22", b"33", b"44"):
        await put(database, raw, at=NOW + 30, max_bytes=room)
        remaining.append({row.id for row in await kept(database)} & {row.id for row in rows})
    assert remaining == [{rows[0].id, rows[2].id}, {rows[2].id}, {rows[2].id}]


async def test_dismiss_of_an_unknown_id_changes_nothing(database: Database) -> None:
    row = await keep_one(database)
    with pytest.raises(OperatorError, match="no quarantined payload unknown"):
        await database.write(dismiss, TENANT, [row.id, "unknown"], NOW)
    assert [after.dismissed_at for after in await kept(database)] == [None]


async def test_keep_counts_a_dismissed_row_whose_bytes_come_again_contract_46(
    database: Database,
) -> None:
    size = ROW_BYTES + 100
    bodies = [bytes([number]) * 100 for number in range(3)]
    for number, raw in enumerate(bodies[:2]):
        await put(database, raw, at=NOW + number, max_bytes=2 * size)
    first, *_ = await kept(database)
    await database.write(dismiss, TENANT, [first.id], NOW)
    arriving = [Unreadable(TENANT, "generic", raw, "why", NOW) for raw in (bodies[0], bodies[2])]
    assert await database.write(keep, arriving, 2 * size) == [True, False]
    assert sum(row.size_bytes for row in await kept(database)) == 200


async def test_deletion_of_a_row_that_only_counts_frees_nothing_contract_16(
    database: Database,
) -> None:
    room = ROW_BYTES + 200
    assert await put(database, b"a" * 100, at=NOW, max_bytes=room)
    assert not await put(database, b"b" * 100, at=NOW + 1, max_bytes=room)
    counter = (await kept(database))[1]
    await database.write(dismiss, TENANT, [counter.id], NOW + 2)
    assert not await put(database, b"c" * 100, at=NOW + 3, max_bytes=room)
    assert await database.write(delete_last_received_before, NOW + 9, 9, 1 << 20) == 2
    assert await put(database, b"d" * 100, at=NOW + 10, max_bytes=room)
    assert not await put(database, b"e" * 100, at=NOW + 11, max_bytes=room)
