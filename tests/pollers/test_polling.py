"""Alerts are pulled from the vendors: each once, and none is lost (contract 72)."""

import contextlib
import logging

import pytest
from sqlalchemy import Connection

from tests.audit import events
from tests.pollers.site import LIMITS, NOW, TENANT, Killed, Site
from tests.sample_alerts import queued
from vyrox import metrics
from vyrox.alerts.queue import AlertQueue
from vyrox.alerts.refill import Refill
from vyrox.edr.client import Deadline
from vyrox.errors import OperatorError
from vyrox.polling import poller as polling
from vyrox.polling import rows
from vyrox.polling.pages import PAGE_ALERTS, Page, Source
from vyrox.polling.rows import LEASE_S, STALL_S
from vyrox.tenants.edr_credentials import remove_credentials
from vyrox.tenants.records import add_tenant
from vyrox.tenants.removal import remove_tenant
from vyrox.tenants.webhook_options import WebhookOptions
from vyrox.trial.mock_edr.faults import Fault


async def kinds(site: Site) -> list[str]:
    found = [str(each["kind"]) for each in await events(site.database)]
    return [kind for kind in found if kind.startswith("poller.")]


async def test_each_alert_of_many_pages_is_one_row_and_one_entry_contract_72(site: Site) -> None:
    site.mock.defender.page_size = 70
    names = [site.add(number, NOW - 600 + number) for number in range(2 * PAGE_ALERTS + 10)]
    # As many as a page were changed at the same instant.
    names += [site.add(1000 + number, NOW - 100) for number in range(PAGE_ALERTS + 5)]
    poller = await site.poll()
    assert await site.stored() == dict.fromkeys(names, 1)
    assert len(await site.queued()) == len(names)
    assert (poller.failures, poller.place, poller.lag_s(site.clock())) == (0, None, 0.0)
    assert set(site.noticed) == {TENANT}
    # The next poll reads some of them again, and what is new.
    names.append(site.add(5000, NOW - 50))
    await site.poll()
    assert await site.stored() == dict.fromkeys(names, 1)
    assert len(await site.queued()) == len(names)


async def test_what_is_listed_late_is_read_and_a_clock_ahead_hides_nothing_contract_72(
    site: Site,
) -> None:
    names = [site.add(1, NOW), site.add(2, NOW + 86_400)]  # the vendor's clock was a day ahead
    await site.poll()
    since = site.clock()
    names.append(site.add(3, since - polling.OVERLAP_S + 1))
    await site.poll()
    names.append(site.add(4, site.clock()))
    await site.poll()
    assert await site.stored() == dict.fromkeys(names, 1)


async def test_a_change_is_a_row_only_if_vyrox_reads_it_contract_72(site: Site) -> None:
    name = site.add(1, NOW)
    await site.poll()
    site.change(name, NOW + 1, status="resolved", assignedTo="jane")
    await site.poll()
    assert await site.stored() == {name: 1}
    changes: dict[str, dict[str, object]] = {
        "crowdstrike": {"severity_name": "Critical", "severity": 90},
        "sentinelone": {"agentRealtimeInfo": {"agentComputerName": "workstation-99"}},
        "defender": {"severity": "low"},
    }
    site.change(name, NOW + 2, **changes[site.vendor])
    await site.poll()
    assert await site.stored() == {name: 2}


@pytest.mark.parametrize("vendor", ["defender"], indirect=True)
async def test_what_was_read_is_forgotten_with_the_alerts_contract_72(site: Site) -> None:
    name = site.add(1, NOW)
    await site.poll()
    assert await site.database.write(rows.delete_seen, site.clock()) == 0
    assert await site.database.write(rows.delete_seen, site.clock() + 1) == 1
    await site.poll()  # the alert itself is still there
    assert await site.stored() == {name: 1}


async def test_what_fits_no_alert_is_quarantined_once_and_holds_nothing_up_contract_72(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_tenants", set())  # other tests of this process have named some
    counted = metrics.DELIVERIES.counts
    places = [(site.vendor, outcome, TENANT) for outcome in ("polled", "unreadable")]
    before = [counted[place] for place in places]
    gone: dict[str, dict[str, object]] = {
        "crowdstrike": {"composite_id": None, "id": None},
        "sentinelone": {"threatInfo": {"updatedAt": "2026-01-01T01:00:00.000000Z"}, "id": None},
        "defender": {"id": None, "providerAlertId": None},
    }
    site.add(1, NOW, **gone[site.vendor])
    name = site.add(2, NOW)
    for _ in range(3):
        await site.poll()
    assert await site.stored() == {name: 1}
    [(_, deliveries)] = await site.quarantined()
    assert deliveries == 1
    [told] = [each for each in await events(site.database) if each["kind"] == "alert.quarantined"]
    assert (told["body_kept"], told["polled"]) == (True, True)
    # Each is counted once, as for a webhook (contract 98).
    assert [counted[place] for place in places] == [number + 1 for number in before]


@pytest.mark.parametrize("vendor", ["crowdstrike"], indirect=True)
async def test_an_alert_of_another_tenants_customer_id_is_kept_or_routed_contract_72(
    site: Site,
) -> None:
    def bind(connection: Connection, name: str, options: WebhookOptions) -> None:
        add_tenant(connection, name, "crowdstrike", "", None, NOW, options)

    cids = {name: letter * 32 for name, letter in (("child", "c"), ("stranger", "d"))}
    for name, cid in cids.items():
        await site.database.write(bind, name, WebhookOptions(vendor_ids=(cid,)))
    await site.database.write(bind, TENANT, WebhookOptions(routes_to=("child",)))
    kept = site.add(1, NOW, cid=cids["stranger"])
    routed = site.add(2, NOW, cid=cids["child"])
    await site.poll()
    assert await site.stored() == {routed: 1}
    assert kept not in await site.stored()
    [(reason, _)] = await site.quarantined()
    assert "another tenant" in reason
    assert await site.queued() == []
    assert [tenant for tenant, _ in await queued(site.client, "child")] == ["child"]
    assert site.noticed == ["child"]


FAULTS = [
    Fault("status", effect=True, status=429, retry_after_s=500),
    Fault("status", effect=True, status=500),
    Fault("status", effect=True, status=403),
    Fault("bad_gateway", effect=True),
    Fault("truncated", effect=True),
    Fault("empty", effect=True),
    Fault("redirect", effect=True),
    Fault("reset", effect=True),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}")
async def test_a_fault_at_any_call_loses_nothing_contract_72(site: Site, fault: Fault) -> None:
    site.mock.defender.page_size = PAGE_ALERTS
    names = [site.add(number, NOW - 500 + number) for number in range(PAGE_ALERTS + 20)]
    calls = 1
    while True:  # the fault strikes the first call, then only the second, and so on
        site.mock.faults.clear()
        first = len(site.mock.requests)
        site.mock.faults.plan(site.vendor, "*", fault, None if fault.status == 429 else calls)
        poller = await site.poll()
        site.mock.faults.clear()
        if poller.failures == 0 or fault.status == 429:
            break
        assert poller.last_error
        assert poller.next_at >= site.clock() + polling.RETRY_S * 0.9
        assert len(site.mock.requests) > first
        calls += 1
    if fault.status == 429 and site.vendor == "defender":
        assert poller.next_at >= site.clock() + 500  # as the vendor asks
    poller = await site.poll()
    assert poller.failures == 0
    assert await site.stored() == dict.fromkeys(names, 1)
    assert len(await site.queued()) == len(names)


@pytest.mark.parametrize("vendor", ["crowdstrike"], indirect=True)
async def test_an_alert_that_changes_while_a_page_is_read_hides_no_other_contract_72(
    site: Site,
) -> None:
    names = [site.add(number, NOW - 3000 + number) for number in range(2 * PAGE_ALERTS)]

    class Changing:
        """After the ids of the first page were read, its last alert is changed."""

        def __init__(self, source: Source) -> None:
            self._source = source

        async def read(self, since: str, place: str | None, deadline: Deadline) -> Page:
            if place is None:
                before = site.mock.faults.take

                def take(vendor: str, endpoint: str) -> Fault | None:
                    if endpoint == "alert_read":
                        site.change(names[PAGE_ALERTS - 1], NOW - 1)
                    return before(vendor, endpoint)  # type: ignore[arg-type]

                site.mock.faults.take = take  # type: ignore[method-assign]
            return await self._source.read(since, place, deadline)

    await site.poll(site.pollers(wrap=Changing))
    assert set(await site.stored()) == set(names)


@pytest.mark.parametrize("vendor", ["defender"], indirect=True)
async def test_the_token_goes_to_no_other_server_contract_72(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.mock.defender.page_size = 1
    for number in range(2):
        site.add(number, NOW)
    asked = {**site.mock.defender.alerts}
    assert len(asked) == 2
    monkeypatch.setattr("vyrox.trial.mock_edr.graph.urlencode", lambda *_, **__: "x" * 5000)
    poller = await site.poll()
    assert "leads elsewhere" in (poller.last_error or "")
    monkeypatch.undo()
    monkeypatch.setattr(
        "vyrox.trial.mock_edr.exchange.Call.header",
        lambda call, name: "attacker.example" if name == "host" else dict(call.headers).get(name),
    )
    poller = await site.poll()
    assert "leads elsewhere" in (poller.last_error or "")
    assert await site.stored() == {}


async def test_one_container_polls_and_one_that_was_suspended_stores_nothing_contract_72(
    site: Site,
) -> None:
    name = site.add(1, NOW)

    class Suspended:
        """The first read takes longer than the lease, and another container polls meanwhile."""

        def __init__(self, source: Source) -> None:
            self._source = source

        async def read(self, since: str, place: str | None, deadline: Deadline) -> Page:
            page = await self._source.read(since, place, deadline)
            other = site.pollers()
            await other.run()
            await other.settled()
            assert await site.stored() == {}  # it has found nothing to do
            site.clock.now += LEASE_S + 1
            await other.run()
            await other.settled()
            return page

    first = site.pollers(wrap=Suspended)
    await first.run()
    await first.settled()
    assert await site.stored() == {name: 1}
    assert len(await site.queued()) == 1
    poller = await site.poller()
    assert (poller.failures, poller.holder) == (0, None)


@pytest.mark.parametrize("vendor", ["sentinelone"], indirect=True)
async def test_without_credentials_or_tenant_nothing_is_pulled_contract_72(site: Site) -> None:
    site.add(1, NOW)
    asked = len(site.mock.requests)

    def onboard(connection: Connection) -> None:
        add_tenant(connection, TENANT, "generic", "", None, NOW)
        remove_tenant(connection, TENANT, "generic", NOW)

    await site.database.write(onboard)
    poller = await site.poll()
    assert poller.last_error == "the tenant is removed"
    await site.database.write(add_tenant, TENANT, "defender", "", None, NOW)

    def forget(connection: Connection) -> None:
        remove_credentials(connection, TENANT, "sentinelone", NOW)

    await site.database.write(forget)
    poller = await site.poll()
    assert "no credentials" in (poller.last_error or "")
    assert len(site.mock.requests) == asked
    assert await site.stored() == {}


@pytest.mark.parametrize("vendor", ["sentinelone"], indirect=True)
async def test_a_full_queue_ends_a_poll_and_nothing_is_lost_contract_72(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.polling.sentinelone.SIZES", (5,))
    names = [site.add(number, NOW + number) for number in range(12)]
    poller = await site.poll(site.pollers(queue=AlertQueue(site.client, 3)))
    assert poller.last_error == f"the queue of {TENANT} is full"
    assert len(await site.stored()) == 5
    await site.poll()
    assert await site.stored() == dict.fromkeys(names, 1)
    await Refill(site.client, site.queue, site.database).run()
    assert len(await site.queued()) == len(names)


@pytest.mark.parametrize("vendor", ["defender"], indirect=True)
async def test_a_poll_that_takes_long_goes_on_where_it_was_contract_72(
    site: Site,
) -> None:
    site.mock.defender.page_size = 2
    names = [site.add(number, NOW - number) for number in range(8)]

    class Slow:
        """Each page takes more than half of the time of a poll."""

        def __init__(self, source: Source) -> None:
            self._source = source

        async def read(self, since: str, place: str | None, deadline: Deadline) -> Page:
            page = await self._source.read(since, place, deadline)
            deadline.at -= polling.POLL_S * 0.6
            return page

    running = site.pollers(wrap=Slow)
    await running.run()
    await running.settled()
    poller = await site.poller()
    assert (poller.failures, poller.place is None) == (0, False)
    assert len(await site.stored()) == 2
    # Failures keep the place while each poll comes further, and forget it then.
    for _ in range(2):
        site.mock.faults.clear()
        site.mock.faults.plan("defender", "alert_list", Fault("status", effect=True), 2)
        poller = await site.poll()
        assert poller.place is not None
    assert len(await site.stored()) == 6
    site.mock.faults.plan("defender", "alert_list", Fault("status", effect=True))
    assert (await site.poll()).place is None
    site.mock.faults.clear()
    await site.poll()
    assert await site.stored() == dict.fromkeys(names, 1)


@pytest.mark.parametrize("vendor", ["sentinelone"], indirect=True)
async def test_a_bug_is_a_failure_of_that_poller_only_contract_72(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = site.add(1, NOW)
    with monkeypatch.context() as patched:
        patched.setattr(polling, "store_page", lambda *_: 1 // 0)
        poller = await site.poll()
    assert (poller.failures, poller.last_error) == (1, "a bug: ZeroDivisionError; see the log")
    await site.poll()
    assert await site.stored() == {name: 1}


@pytest.mark.parametrize("vendor", ["sentinelone"], indirect=True)
async def test_a_time_that_is_none_stops_nothing_contract_72(site: Site) -> None:
    odd: tuple[object, ...] = ("\0", "x' or 1", "9" * 5000, 12, None, {})
    for number, text in enumerate(odd):
        site.add(number, NOW, threatInfo={"threatId": str(number), "updatedAt": text})
    for _ in range(2):
        assert (await site.poll()).failures == 0
        assert len(await site.stored()) == len(odd)


@pytest.mark.parametrize("vendor", ["sentinelone"], indirect=True)
async def test_what_is_larger_than_a_body_may_be_is_quarantined_contract_72(site: Site) -> None:
    site.add(1, NOW, note="x" * (LIMITS.max_body_bytes + 1))
    name = site.add(2, NOW)
    await site.poll()
    assert await site.stored() == {name: 1}
    [(reason, _)] = await site.quarantined()
    assert reason.endswith("are more than MAX_BODY_BYTES")


@pytest.mark.parametrize("limit", [40_000, 6_000], ids=["ten_fit", "one_fits"])
async def test_a_page_of_long_command_lines_is_read_in_smaller_ones_contract_72(
    site: Site, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for module in ("crowdstrike", "sentinelone", "defender"):
        monkeypatch.setattr(f"vyrox.polling.{module}.MAX_PAGE_BYTES", limit)
    # The long ones come last, so also a page that is not the first is too large.
    names = [site.add(number, NOW + number) for number in range(25)]
    for name in names[12:] if site.vendor != "defender" else names[:12]:
        site.change(name, site.clock(), note="x" * 2_500)
    assert (await site.poll()).failures == 0
    assert await site.stored() == dict.fromkeys(names, 1)


async def test_switched_off_while_it_polls_nothing_is_stored_contract_72(site: Site) -> None:
    site.add(1, NOW)

    class Off:
        def __init__(self, source: Source) -> None:
            self._source = source

        async def read(self, since: str, place: str | None, deadline: Deadline) -> Page:
            page = await self._source.read(since, place, deadline)
            await site.database.write(rows.switch_off, TENANT, site.vendor, NOW)
            return page

    running = site.pollers(wrap=Off)
    await running.run()
    await running.settled()
    assert await site.stored() == {}
    with pytest.raises(OperatorError, match="is not polled"):
        await site.database.write(rows.switch_off, TENANT, site.vendor, NOW)


async def test_without_success_for_15_minutes_it_is_an_event_and_a_warning_contract_72(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vyrox")
    site.mock.faults.plan(site.vendor, "*", Fault("status", effect=True, status=500))
    pauses = []
    while site.clock.now + LEASE_S < NOW + STALL_S:
        poller = await site.poll()
        pauses.append(poller.next_at - site.clock())
    assert await kinds(site) == []
    assert max(pauses) <= polling.MAX_RETRY_S * 1.1
    assert pauses[3] > pauses[0] * 3
    site.clock.now = NOW + STALL_S
    running = site.pollers()
    await running.run()
    await running.run()
    await running.settled()
    assert await kinds(site) == ["poller.stalled"]
    site.mock.faults.clear()
    await site.poll()
    assert await kinds(site) == ["poller.stalled", "poller.recovered"]
    assert (await site.poller()).warned_at is None


class Steps:
    """Ends the process at one step: before or after one call of a store, the queue or the vendor.

    Attributes:
        count: How many steps there were.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self.count = 0

    def step(self) -> None:
        self.count += 1
        if self.count >= self._last:
            raise Killed

    def around(self, thing: object) -> object:
        """Return `thing`, with a step before and after each of its calls."""
        steps = self

        class Around:
            def __getattr__(self, name: str) -> object:
                method = getattr(thing, name)

                async def call(*args: object, **named: object) -> object:
                    steps.step()
                    result = await method(*args, **named)
                    steps.step()
                    return result

                return call

        return Around()


async def test_killed_at_any_step_nothing_is_lost_and_nothing_is_there_twice_contract_72(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("crowdstrike", "sentinelone", "defender"):
        monkeypatch.setattr(f"vyrox.polling.{module}.SIZES", (5,))
    names: list[str] = []
    kills = 0
    while True:
        names += [site.add(1000 * kills + each, site.clock.now + each / 8) for each in range(8)]
        steps = Steps(kills + 1)
        pollers = site.pollers(
            steps.around(site.database),  # type: ignore[arg-type]
            steps.around(site.queue),  # type: ignore[arg-type]
            steps.around,  # type: ignore[arg-type]
        )
        with contextlib.suppress(Killed):
            await pollers.run()
        await pollers.settled()
        if steps.count < kills + 1:
            break
        kills += 1
        site.clock.now += LEASE_S + polling.INTERVAL_S  # another container may begin
    assert kills > 15
    await site.poll()
    assert await site.stored() == dict.fromkeys(names, 1)
    await Refill(site.client, site.queue, site.database).run()
    assert len(await site.queued()) == len(set(await site.queued())) == len(names)
