"""What Microsoft Graph has announced is fetched: once, and nothing is lost (contract 74)."""

import contextlib

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import events
from tests.pollers.site import NOW, TENANT, Killed, Site
from tests.pollers.test_polling import Steps
from vyrox.alerts.refill import Refill
from vyrox.edr.client import Deadline
from vyrox.errors import UnavailableError
from vyrox.polling import fetcher as fetching
from vyrox.polling import notices
from vyrox.polling.defender import GraphAlerts
from vyrox.polling.fetcher import Fetcher
from vyrox.polling.notices import MISSED, Announced, Batch
from vyrox.polling.pages import Element
from vyrox.polling.rows import LEASE_S
from vyrox.store.tables import graph_notices
from vyrox.tenants.edr_credentials import remove_credentials
from vyrox.trial.mock_edr.faults import Fault

pytestmark = pytest.mark.parametrize("vendor", ["defender"], indirect=True)


def batch(*alert_ids: str) -> Batch:
    return Batch(tuple(Announced(TENANT, each, b'{"id":"x"}') for each in alert_ids), (), ())


async def waiting(site: Site) -> list[tuple[str, int, int]]:
    """Return the id, the number of announcements and of failures of each notice."""

    def find(connection: Connection) -> list[tuple[str, int, int]]:
        c = graph_notices.c
        query = sa.select(c.alert_id, c.number, c.failures).order_by(c.alert_id)
        return [(row.alert_id, row.number, row.failures) for row in connection.execute(query)]

    return await site.database.read(find)


async def fetch(running: Fetcher) -> None:
    await running.run()
    await running.settled()


async def kinds(site: Site) -> list[object]:
    return [each["kind"] for each in await events(site.database)]


async def test_an_announced_alert_is_fetched_once_and_polled_not_again_contract_74(
    site: Site,
) -> None:
    names = [site.add(number, NOW - 10) for number in range(3)]
    running = site.fetcher()
    await running.accept(batch(*names, names[0]))
    assert running.noticed.is_set()
    await fetch(running)
    assert await site.stored() == dict.fromkeys(names, 1)
    assert await waiting(site) == []
    assert len(await site.queued()) == 3
    assert set(site.noticed) == {TENANT}
    # Graph repeats itself, and a poller reads the same list.
    await running.accept(batch(names[0]))
    await fetch(running)
    await site.poll()
    assert await site.stored() == dict.fromkeys(names, 1)
    # A change that Vyrox reads is a new row (72).
    site.change(names[0], NOW, severity="low")
    await running.accept(batch(names[0]))
    await fetch(running)
    assert (await site.stored())[names[0]] == 2


async def test_what_cannot_be_fetched_is_tried_again_then_given_up_contract_74(site: Site) -> None:
    running = site.fetcher()
    late = site.add(1, NOW)
    await running.accept(batch(late, "da9_nowhere"))
    fault = Fault("status", effect=True, status=500)
    for nth in range(1, 30):
        site.mock.faults.plan("defender", "alert_one", fault, nth)
    await fetch(running)
    assert await waiting(site) == [(late, 1, 1), ("da9_nowhere", 1, 1)]
    await fetch(running)  # not due yet
    assert await waiting(site) == [(late, 1, 1), ("da9_nowhere", 1, 1)]
    seen = (await site.database.read(notices.waiting_of, [TENANT]))[TENANT]
    assert (seen.number, seen.failing, seen.since) == (2, 2, site.clock.now)
    assert "500" in (seen.error or "")
    site.mock.faults.clear()
    site.clock.now += 2 * fetching.RETRY_S
    await fetch(running)
    assert await site.stored() == {late: 1}
    assert await waiting(site) == [("da9_nowhere", 1, 2)]
    assert "notification.dead" not in await kinds(site)
    site.clock.now += fetching.GIVE_UP_S
    await fetch(running)
    assert await waiting(site) == []
    [(reason, deliveries)] = await site.quarantined()
    assert "404" in reason
    assert deliveries == 1
    assert (await kinds(site))[-2:] == ["notification.dead", "alert.quarantined"]


async def test_after_a_429_nothing_more_of_the_tenant_is_asked_for_contract_74(site: Site) -> None:
    names = sorted(site.add(number, NOW) for number in range(3))
    running = site.fetcher()
    await running.accept(batch(*names))
    fault = Fault("status", effect=False, status=429, retry_after_s=300.0)
    site.mock.faults.plan("defender", "alert_one", fault, 1)
    await fetch(running)
    await fetch(running)
    assert sorted(failures for _, _, failures in await waiting(site)) == [0, 0, 1]
    assert await site.stored() == {}
    site.clock.now += 400.0
    await fetch(running)
    assert await site.stored() == dict.fromkeys(names, 1)


async def test_without_credentials_it_waits_for_them_contract_74(site: Site) -> None:
    name = site.add(1, NOW)
    running = site.fetcher()
    await site.database.write(remove_credentials, TENANT, "defender", NOW)
    await running.accept(batch(name))
    await fetch(running)
    assert await waiting(site) == [(name, 1, 1)]
    assert await site.stored() == {}


async def test_announced_again_while_it_is_fetched_it_is_fetched_again_contract_74(
    site: Site,
) -> None:
    name = site.add(1, NOW)
    other = site.fetcher()

    class Meanwhile(GraphAlerts):
        async def read_one(self, alert_id: str, deadline: Deadline) -> Element:
            found = await super().read_one(alert_id, deadline)
            site.change(name, NOW + 1, severity="low")
            await other.accept(batch(name))
            return found

    def wrap(source: GraphAlerts) -> GraphAlerts:
        return Meanwhile(source._api)

    await other.accept(batch(name))
    await fetch(site.fetcher(wrap=wrap))
    assert [number for _, number, _ in await waiting(site)] == [2]
    await fetch(other)
    assert await site.stored() == {name: 2}
    assert await waiting(site) == []


async def test_after_missed_the_list_is_read_contract_74(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.polling.defender.SIZES", (2,))
    names = [site.add(number, NOW - 60) for number in range(5)]
    running = site.fetcher()
    before = await site.poller()
    site.clock.now += 1
    await running.accept(batch(MISSED))
    assert (await site.poller()).next_at == before.next_at + 1
    await fetch(running)
    assert await site.stored() == dict.fromkeys(names, 1)
    assert await waiting(site) == []


async def test_a_suspended_container_stores_nothing_contract_74(site: Site) -> None:
    name = site.add(1, NOW)

    class Suspended(GraphAlerts):
        async def read_one(self, alert_id: str, deadline: Deadline) -> Element:
            found = await super().read_one(alert_id, deadline)
            site.clock.now += LEASE_S
            return found

    def wrap(source: GraphAlerts) -> GraphAlerts:
        return Suspended(source._api)

    await site.fetcher().accept(batch(name))
    await fetch(site.fetcher(wrap=wrap))
    assert await site.stored() == {}
    await fetch(site.fetcher())
    assert await site.stored() == {name: 1}


async def test_too_many_that_wait_are_refused_not_dropped_contract_74(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MAX_WAITING", 2)
    running = site.fetcher()
    await running.accept(batch("a1", "a2"))
    with pytest.raises(UnavailableError):
        await running.accept(batch("a3"))
    assert len(await waiting(site)) == 2


async def test_killed_at_any_step_nothing_is_lost_and_nothing_is_there_twice_contract_74(
    site: Site,
) -> None:
    names: list[str] = []
    kills = 0
    while True:
        new = [site.add(10 * kills + each, site.clock.now) for each in range(3)]
        names += new
        await site.fetcher().accept(batch(*new))
        steps = Steps(kills + 1)
        running = site.fetcher(
            steps.around(site.database),  # type: ignore[arg-type]
            steps.around(site.queue),  # type: ignore[arg-type]
            steps.around,  # type: ignore[arg-type]
        )
        with contextlib.suppress(Killed):
            await running.run()
        await running.settled()
        if steps.count < kills + 1:
            break
        kills += 1
        site.clock.now += LEASE_S  # another container may begin
    assert kills > 10
    await fetch(site.fetcher())
    await until_none_is_left(site)
    assert await site.stored() == dict.fromkeys(names, 1)
    await Refill(site.client, site.queue, site.database).run()
    assert len(await site.queued()) == len(set(await site.queued())) == len(names)


async def until_none_is_left(site: Site) -> None:
    for _ in range(100):
        if not await waiting(site):
            return
        site.clock.now += LEASE_S
        await fetch(site.fetcher())
    raise AssertionError("notices are left")
