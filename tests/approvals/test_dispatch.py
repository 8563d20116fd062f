"""From the quorum to one execution, or none (contract 62; A10 to A12, A35)."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from tests import audit
from tests.approvals.decided import (
    KILL,
    WANTED,
    add_approvers,
    approved,
    change_text,
    prepared,
    proposed,
)
from tests.audit import NOW, TENANT, entries
from tests.containment.test_crash_points import Site
from tests.containment.test_execution import Proxy, outcomes, running
from tests.polling import until
from tests.tenants.test_guard_rails import set_rails
from tests.vendor import forget_alert
from vyrox.approvals import approvers, rules
from vyrox.approvals.dispatch import Dispatcher
from vyrox.approvals.proposing import Wanted
from vyrox.approvals.rows import StoredProposal
from vyrox.approvals.shown import ShownProposal, show
from vyrox.clock import wall_clock
from vyrox.containment import execution
from vyrox.errors import DatabaseUnavailableError, UnavailableError
from vyrox.models import Device
from vyrox.store.database import Database, open_database
from vyrox.tenants.guard_rails import Rails


class Dispatching:
    """A containment with its fake vendor and clock, and the dispatcher above it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.vendor = proxy.acting
        self.dispatcher = Dispatcher(proxy.database, proxy.containment, lambda: None, proxy.clock)

    async def run(self) -> None:
        """Dispatch what is due, and wait until it has ended."""
        await self.dispatcher.run()
        await self.ended()

    async def ended(self) -> None:
        tasks = list(vars(self.dispatcher)["_running"].values())
        if tasks:
            await asyncio.wait(tasks)

    async def shown(self, stored: StoredProposal) -> ShownProposal:
        return await self.proxy.database.read(show, TENANT, stored.id, self.proxy.clock())


@asynccontextmanager
async def dispatching(database: Database, *, dry_run: bool = False) -> AsyncIterator[Dispatching]:
    async with running(database, dry_run=dry_run) as proxy:
        yield Dispatching(proxy)


@pytest.fixture
async def opened(database: Database) -> Database:
    return await prepared(database)


async def test_quorum_leads_to_one_action_contract_62(opened: Database) -> None:
    """A12 and A35: one entry, one call, and an event that joins them to the decisions."""
    async with dispatching(opened) as each:
        stored = await approved(opened)
        await asyncio.gather(each.run(), Dispatching(each.proxy).run())
        await each.run()
        assert each.vendor.did == [("contained", "workstation-01")]
        assert stored.id in each.vendor.comments[0]
        shown = await each.shown(stored)
    [entry] = await entries(opened)
    assert entry["approved_by"] == f"ann+bob sha256:{stored.sha256}"
    assert (entry["action_type"], entry["host"]) == ("HOST_ISOLATION", "workstation-01")
    assert len(entry) == 8
    [dispatched] = await audit.events(opened, kind="approval.dispatched")
    decided = await audit.events(opened, kind="approval.decided")
    assert dispatched["proposal_id"] == stored.id
    assert dispatched["action_hash"] == entry["hash"]
    assert dispatched["decisions"] == ",".join(str(event["hash"]) for event in decided)
    assert (shown.state, shown.action_hash) == ("dispatched", entry["hash"])
    assert shown.outcome == "confirmed"


async def test_dry_run_uses_a_proposal_up_contract_62(opened: Database) -> None:
    async with dispatching(opened, dry_run=True) as each:
        stored = await approved(opened)
        await each.run()
        await each.run()
        assert each.vendor.did == []
        assert (await each.shown(stored)).outcome == "dry_run"
    [entry] = await entries(opened)
    assert entry["dry_run"] is True


async def test_nothing_is_carried_out_before_the_quorum_contract_62(opened: Database) -> None:
    async with dispatching(opened) as each:
        await proposed(opened)
        await each.run()
        assert each.vendor.asked == []
    assert await entries(opened) == []


async def test_a_quorum_lapses_after_60_s_contract_62(opened: Database) -> None:
    """A10: whatever the database says, and with its event."""
    async with dispatching(opened) as each:
        stored = await approved(opened)
        each.proxy.clock.now = NOW + 60
        assert (await each.shown(stored)).state == "lapsed"
        await each.run()
        each.proxy.clock.now = NOW
        await each.run()
        assert each.vendor.asked == []
    [event] = await audit.events(opened, kind="approval.ended")
    assert (event["state"], event["proposal_id"]) == ("lapsed", stored.id)
    assert await entries(opened) == []


async def test_deadline_is_what_is_left_of_60_s_contract_62(opened: Database) -> None:
    async with dispatching(opened) as each:
        await approved(opened)
        each.proxy.clock.now = NOW + 50
        before = asyncio.get_running_loop().time()
        await each.run()
        assert each.vendor.did != []
        latest = asyncio.get_running_loop().time() + 10
        assert all(before + 10 <= at <= latest for at in each.vendor.deadlines)


async def _time_passes(each: Dispatching) -> None:
    each.proxy.clock.now = NOW + 60


async def _approver_is_removed(each: Dispatching) -> None:
    await each.proxy.database.write(approvers.remove, TENANT, "bob", "operator", NOW)


async def _text_is_changed(each: Dispatching) -> None:
    await each.proxy.database.write(change_text, b"{}")


async def _freeze(each: Dispatching) -> None:
    await set_rails(each.proxy.database, Rails(frozen_at=NOW))


CHANGES = [
    pytest.param(_time_passes, "the approval has expired", id="time"),
    pytest.param(_approver_is_removed, "too few of those who approved", id="approver"),
    pytest.param(_text_is_changed, "not what was hashed", id="text"),
    pytest.param(_freeze, "frozen", id="freeze"),
]


@pytest.mark.parametrize(("happens", "why"), CHANGES)
async def test_all_is_checked_again_before_each_call_contract_62(
    opened: Database, happens: Callable[[Dispatching], Awaitable[None]], why: str
) -> None:
    """A11: the entry is written, and the client waits for a busy vendor."""
    async with dispatching(opened) as each:
        await approved(opened)
        each.vendor.prepared.clear()
        await each.dispatcher.run()
        await each.vendor.preparing.wait()
        await happens(each)
        each.vendor.prepared.set()
        await each.ended()
        assert each.vendor.asked == []
    [entry] = await entries(opened)
    assert await outcomes(opened) == [(entry["hash"], "failed")]
    [event] = await audit.events(opened, kind="execute.outcome")
    assert why in str(event["reason"])


@pytest.mark.parametrize(("happens", "why"), CHANGES[1:2] + CHANGES[3:])
async def test_all_is_checked_before_the_entry_contract_62(
    opened: Database, happens: Callable[[Dispatching], Awaitable[None]], why: str
) -> None:
    """A11: it ends at once, with the reason, and is not tried again."""
    async with dispatching(opened) as each:
        stored = await approved(opened)
        await happens(each)
        await each.run()
        await set_rails(opened, Rails())
        await each.run()
        assert each.vendor.asked == []
        shown = await each.shown(stored)
        assert (shown.state, why in str(shown.end_reason)) == ("lapsed", True)
    assert await entries(opened) == []
    assert len(await audit.events(opened, kind="approval.ended")) == 1


@pytest.mark.parametrize(
    ("device", "hostname"),
    [
        pytest.param(Device("another", "another", ()), None, id="device"),
        pytest.param(Device("workstation-01", "dc-1", ()), "ws-1", id="name"),
        pytest.param(Device("workstation-01", None, ()), "ws-1", id="no_name"),
    ],
)
async def test_digest_is_that_of_what_is_sent_contract_62(
    opened: Database, device: Device, hostname: str | None
) -> None:
    """A11: the vendor names another device for the same host."""
    async with dispatching(opened) as each:
        each.vendor.devices["workstation-01"] = device
        await approved(opened, msgspec.structs.replace(WANTED, hostname=hostname))
        await each.run()
        assert each.vendor.asked == []
    [event] = await audit.events(opened, kind="execute.outcome")
    assert "not what was approved" in str(event["reason"])


async def test_a_name_may_name_the_device_contract_62(opened: Database) -> None:
    async with dispatching(opened) as each:
        each.vendor.devices["WS-1"] = Device("id-1", "ws-1.corp.local", ())
        await approved(opened, msgspec.structs.replace(WANTED, host="WS-1", hostname="ws-1"))
        await each.run()
        assert each.vendor.did == [("contained", "id-1")]


async def test_a_device_of_a_two_person_rule_needs_two_contract_62(opened: Database) -> None:
    """A18: only the vendor knows the tag, and the rule came after the proposal."""
    async with dispatching(opened) as each:
        each.vendor.devices["workstation-01"] = Device("workstation-01", None, ("tier0",))
        await approved(opened, KILL)
        await opened.write(rules.add_rule, TENANT, "tag:tier0", "operator", NOW)
        await each.run()
        assert each.vendor.asked == []
    [event] = await audit.events(opened, kind="execute.outcome")
    assert "two persons" in str(event["reason"])


async def test_the_alert_may_not_change_the_vendor_contract_62(opened: Database) -> None:
    """The alert is gone, so a kill has no process any more."""
    async with dispatching(opened) as each:
        stored = await approved(opened, KILL)
        await forget_alert(opened, "alt_abc123")
        await each.run()
        assert each.vendor.asked == []
        assert (await each.shown(stored)).state == "lapsed"


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("wanted", [WANTED, KILL], ids=["isolation", "kill"])
async def test_a_service_that_ends_at_any_write_acts_at_most_once_contract_62(
    opened: Database,
    monkeypatch: pytest.MonkeyPatch,
    wanted: Wanted,
    number: int,
    fault: Literal["before", "after"],
) -> None:
    """A12: the claim, the device's lease or the result is lost, before or after its commit."""
    stored = await approved(opened, wanted)
    monkeypatch.setattr(execution, "RECORD_RETRY_S", 0.01)
    async with dispatching(opened) as each:
        each.proxy.database.faults[number] = fault
        each.proxy.database.error = DatabaseUnavailableError("away")
        await each.run()
        calls = len(each.vendor.asked)
    for after_s in (1, 59, 60, 700):
        async with dispatching(opened) as each:
            each.proxy.clock.now = NOW + after_s
            await each.run()
            calls += len(each.vendor.asked)
            assert after_s < 60 or each.vendor.asked == []
    shown = await opened.read(show, TENANT, stored.id, NOW + 700)
    assert calls <= 1
    assert shown.state in {"dispatched", "lapsed"}
    assert len(await audit.events(opened, kind="approval.dispatched")) <= 1
    assert len(await entries(opened)) <= 1


async def test_untrusted_clocks_dispatch_nothing_contract_62(opened: Database) -> None:
    def check() -> None:
        raise UnavailableError("a clock has jumped")

    async with running(opened) as proxy:
        await approved(opened)
        dispatcher = Dispatcher(proxy.database, proxy.containment, check, proxy.clock)
        with pytest.raises(UnavailableError):
            await dispatcher.run()
        assert proxy.acting.asked == []


@pytest.mark.long
@pytest.mark.parametrize("stops", ["after", "before"])
async def test_killed_in_the_call_it_never_acts_again_contract_62(
    data_dir: Path, stops: str
) -> None:
    """A12, with kill -9 after the quorum: not even within the 60 s, and not an isolation either."""
    site = Site(data_dir, None)
    async with site.service(stops) as service:
        async with open_database(None, data_dir) as database:
            await add_approvers(database)
            stored = await approved(database, now=wall_clock())
        await service.wait_for("vendor.stopped")
        service.signal(signal.SIGKILL)
        await service.ended()
    [entry] = await site.entries()
    acted = [("workstation-01", entry["hash"])] * (stops == "after")
    assert site.calls() == acted
    await site.expire(lease_until=0)
    async with site.service():

        async def is_unknown() -> bool:
            return await site.outcomes() == [(entry["hash"], "outcome_unknown")]

        await until(is_unknown)
        async with open_database(None, data_dir) as database:
            # The dispatcher has seen this one, so it has run since the start.
            other = await approved(
                database, msgspec.structs.replace(WANTED, host="other"), now=wall_clock()
            )

            async def is_done() -> bool:
                shown = await database.read(show, TENANT, other.id, wall_clock())
                return shown.outcome == "confirmed"

            await until(is_done)
            shown = await database.read(show, TENANT, stored.id, wall_clock())
    assert (shown.state, shown.outcome) == ("dispatched", "outcome_unknown")
    assert [call for call in site.calls() if call[0] != "other"] == acted
