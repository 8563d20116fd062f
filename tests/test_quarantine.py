"""Authenticated payloads that fit no adapter are kept once, listed and replayed (contract 16)."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.alerts import (
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
from vyrox.db import Database
from vyrox.db.tables import quarantine
from vyrox.errors import NormalizationError, OperatorError
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.quarantine import (
    Quarantined,
    count_quarantined,
    keep,
    list_quarantined,
    read_quarantined,
    replay,
)
from vyrox.tolerant_json import tolerant


async def kept(database: Database, tenant_id: str = TENANT) -> list[Quarantined]:
    return await database.read(list_quarantined, tenant_id)


async def keep_one(
    database: Database, raw: bytes = b"{}", source: Vendor = "generic", at: float = NOW
) -> Quarantined:
    """Keep `raw`, and return how it is listed."""
    await database.write(keep, TENANT, source, raw, "why", at)
    return (await kept(database))[-1]


async def replay_one(database: Database, row: Quarantined, at: float) -> NormalizedAlert:
    """Replay the payload as an alert, and return that."""
    alert = new_alert(row.tenant_id, row.source)
    _, raw = await database.read(read_quarantined, row.tenant_id, row.id)
    await database.write(replay, row, raw, alert, at)
    return alert


async def test_keep_same_bytes_once_and_counted_contract_16(database: Database) -> None:
    raw = bytes(range(256))
    for number in range(5):
        await database.write(keep, TENANT, "generic", raw, f"reason {number}", NOW + number)
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
    await asyncio.gather(
        *(database.write(keep, TENANT, "generic", b"{}", "why", NOW) for _ in range(20))
    )
    [row] = await kept(database)
    assert row.deliveries == 20


async def test_keep_tenants_and_sources_apart_contract_16(database: Database) -> None:
    sources: tuple[Vendor, ...] = ("crowdstrike", "generic")
    for number in range(10):
        for source in sources:
            await database.write(keep, f"tenant-{number}", source, b"{}", f"why {number}", NOW)
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
    """A reason repeats part of the payload, which no database need take: NUL, lone surrogates."""
    await database.write(lambda connection: connection.execute(quarantine.delete()).rowcount)
    for vendor, adapter in ADAPTERS.items():
        with pytest.raises(NormalizationError) as caught:
            adapter.normalize(
                tolerant(body), Tenant(TENANT, {"raw_id": "id", "hostname": "id"}), NOW
            )
        await database.write(keep, TENANT, vendor, body, str(caught.value), NOW)
    assert len(await kept(database)) == len(ADAPTERS)


async def test_list_quarantined_oldest_first(database: Database) -> None:
    for received_at in (NOW + 2, NOW, NOW + 1):
        raw = str(received_at).encode()
        await database.write(keep, TENANT, "generic", raw, "why", received_at)
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
    """However long ago: what an operator replays is no repeat of the vendor's."""
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
