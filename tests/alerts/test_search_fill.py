"""The alerts of an earlier version become searchable beside the service's work (contract 79)."""

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.alerts.test_searching import HASH, add, alert
from vyrox.alerts import search_fill
from vyrox.alerts.search_fill import SearchFill, fill_some, is_filled
from vyrox.alerts.searching import AlertSearch, Text, search_alerts
from vyrox.store import tables
from vyrox.store.database import Database
from vyrox.store.tables import alerts


def forget(connection: Connection) -> None:
    """Make the rows as an earlier version has left them, and as the migration then notes it."""
    connection.execute(alerts.update().values(sha256=None, technique=None, raw_id=None))
    connection.execute(tables.search_fill.insert().values(received_at=1e10, id=""))


def filled(connection: Connection) -> list[tuple[str | None, str | None, str | None]]:
    query = sa.select(alerts.c.sha256, alerts.c.technique, alerts.c.raw_id)
    return [tuple(row) for row in connection.execute(query.order_by(alerts.c.id))]


async def test_earlier_alerts_are_filled_from_the_newest_in_parts_contract_79(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_fill, "MAX_ROWS", 7)
    # Several at each time: a part may end among them.
    await database.write(add, [(alert(number), float(number // 5)) for number in range(30)])
    before = await database.read(filled)
    await database.write(forget)
    assert await database.write(fill_some) == 7
    newest = await database.read(filled)
    assert newest[:23] == [(None, None, None)] * 23
    assert newest[23:] == before[23:]
    # A restart goes on from there.
    fill = SearchFill(database)
    while not await database.read(is_filled):
        await fill.run()
    assert await database.read(filled) == before
    search = AlertSearch(tenant_ids=("acme",), sha256=Text(HASH))
    assert len((await database.read(search_alerts, search, None, 50)).ids) == 22


async def test_a_large_alert_does_not_end_the_filling_contract_79(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_fill, "MAX_READ_BYTES", 1)
    await database.write(add, [(alert(number), 1.0) for number in range(5)])
    before = await database.read(filled)
    await database.write(forget)
    for _ in range(5):
        assert await database.write(fill_some) == 1
    assert await database.write(fill_some) == 0
    assert await database.read(filled) == before
    assert await database.read(is_filled)


async def test_nothing_is_to_be_filled_in_a_new_database_contract_79(database: Database) -> None:
    assert await database.read(is_filled)
