"""Parts of one alert wait for each other, then are one alert (contract 74)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.adapters.forms.payloads import INFO, MACHINE, PROCESS
from tests.audit import Clock, FaultyDatabase, events
from tests.sample_alerts import queued
from vyrox.alerts import records
from vyrox.alerts.queue import AlertQueue
from vyrox.alerts.records import WAIT_S, Record, RecordJoiner, delete_joined
from vyrox.alerts.refill import Refill
from vyrox.errors import DatabaseUnavailableError
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database, open_database
from vyrox.store.redis import connect
from vyrox.store.tables import alerts

TENANT: Final = "acme-corp"
NOW: Final = 1_767_229_200.0
PARTS: Final = tuple(json.dumps(each).encode() for each in (MACHINE, INFO, PROCESS))


class Site:
    """A joiner with real stores."""

    def __init__(self, database: Database, client: redis.asyncio.Redis) -> None:
        self.database = database
        self.client = client
        self.clock = Clock(NOW)
        self.queue = AlertQueue(client, 1000)
        self.noticed: list[str] = []

    def joiner(self, database: Database | None = None) -> RecordJoiner:
        return RecordJoiner(
            database or self.database, self.queue, self.noticed.append, 1 << 20, self.clock
        )

    async def hold(self, *raws: bytes, raw_id: str = "da1_-7", tenant: str = TENANT) -> list[str]:
        new = [Record(tenant, raw_id, raw, self.clock()) for raw in raws]
        return await self.joiner().hold(new)

    async def alerts(self) -> list[NormalizedAlert]:
        def find(connection: Connection) -> list[NormalizedAlert]:
            rows = connection.execute(sa.select(alerts.c.alert).order_by(alerts.c.id))
            return [msgspec.json.decode(row.alert, type=NormalizedAlert) for row in rows]

        return await self.database.read(find)


@asynccontextmanager
async def _opened(data_dir: Path, redis_url: str, url: str | None) -> AsyncIterator[Site]:
    async with open_database(url, data_dir) as database, connect(redis_url) as client:
        yield Site(database, client)


@pytest.fixture
async def site(data_dir: Path, redis_url: str, database_url: str | None) -> AsyncIterator[Site]:
    async with _opened(data_dir, redis_url, database_url) as opened:
        yield opened


async def test_parts_of_several_deliveries_are_one_alert_contract_74(site: Site) -> None:
    [first] = await site.hold(PARTS[0])
    site.clock.now += WAIT_S - 1
    assert await site.hold(*PARTS[1:]) == [first, first]
    other = json.dumps({**INFO, "properties": {**INFO["properties"], "AlertId": "da2"}}).encode()  # type: ignore[dict-item]
    [second] = await site.hold(other, raw_id="da2")
    await site.joiner().run()
    assert await site.alerts() == []  # its time is not over
    site.clock.now += 1
    await site.joiner().run()
    [alert] = await site.alerts()
    assert (alert.id, alert.raw_id, alert.severity) == (first, "da1_-7", "medium")
    assert (alert.hostname, alert.process_name) == ("ws-7.corp.example", "rundll32.exe")
    assert site.noticed == [TENANT]
    [told] = await events(site.database, TENANT, "alert.accepted")
    assert told["alert_id"] == first
    site.clock.now += WAIT_S
    await site.joiner().run()
    assert {each.id for each in await site.alerts()} == {first, second}
    assert len(await queued(site.client, TENANT)) == 2


async def test_a_part_in_a_wrapper_of_its_own_is_joined_too_contract_74(site: Site) -> None:
    """An Event Hub's batch of one record is stored as it was sent."""
    await site.hold(*(b'{"records":[' + each + b"]}" for each in PARTS))
    site.clock.now += WAIT_S
    await site.joiner().run()
    [alert] = await site.alerts()
    assert (alert.raw_id, alert.severity) == ("da1_-7", "medium")
    assert (alert.hostname, alert.process_name) == ("ws-7.corp.example", "rundll32.exe")


async def test_the_same_parts_again_are_the_same_alert_contract_74(site: Site) -> None:
    ids = await site.hold(*PARTS, PARTS[0])
    assert len(set(ids)) == 1
    assert await site.hold(PARTS[1]) == ids[:1]
    assert (await site.hold(PARTS[1], tenant="other"))[0] != ids[0]
    site.clock.now += WAIT_S
    await site.joiner().run()
    assert await site.hold(*PARTS) == ids[:3]
    site.clock.now += WAIT_S
    await site.joiner().run()
    assert len(await site.alerts()) == 2
    assert await site.database.write(delete_joined, site.clock()) == 4


async def test_what_comes_alone_is_an_alert_too_contract_74(site: Site) -> None:
    [alone] = await site.hold(PARTS[2])
    site.clock.now += WAIT_S
    await site.joiner().run()
    [late] = await site.hold(PARTS[1])
    assert late != alone
    site.clock.now += WAIT_S
    await site.joiner().run()
    assert {each.id for each in await site.alerts()} == {alone, late}


async def test_what_cannot_be_joined_is_quarantined_contract_74(site: Site) -> None:
    await site.hold(b'{"not":"a record"}', b"broken")
    site.clock.now += WAIT_S
    await site.joiner().run()
    assert await site.alerts() == []
    told = await events(site.database, TENANT, "alert.quarantined")
    assert [each["body_kept"] for each in told] == [True, True]


async def test_more_parts_than_one_alert_may_have_are_another_contract_74(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_PARTS", 2)
    assert len(set(await site.hold(*PARTS))) == 2
    site.clock.now += WAIT_S
    await site.joiner().run()
    assert len(await site.alerts()) == 2


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_killed_at_any_step_there_is_one_alert_contract_74(site: Site, fault: str) -> None:
    await site.hold(*PARTS)
    site.clock.now += WAIT_S
    faulty = FaultyDatabase(site.database)
    faulty.faults[1] = fault  # type: ignore[assignment]
    with pytest.raises(DatabaseUnavailableError):
        await site.joiner(faulty).run()
    await site.joiner().run()
    assert len(await site.alerts()) == 1
    await Refill(site.client, site.queue, site.database).run()
    assert len(await queued(site.client, TENANT)) == 1
