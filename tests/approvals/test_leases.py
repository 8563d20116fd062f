"""Containments that end by themselves (contract 68; A19, and A18's lease column)."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from tests import audit
from tests.approvals.decided import (
    LEASED,
    account_of,
    add_approvers,
    approved,
    prepared,
    proposed,
    say,
)
from tests.approvals.discord.test_configured import CHANNEL
from tests.approvals.test_dispatch import Dispatching
from tests.audit import NOW, TENANT, entries
from tests.containment.test_crash_points import Site as KillSite
from tests.containment.test_execution import ISOLATION, Proxy, outcomes, running
from tests.polling import until
from tests.tenants.test_guard_rails import set_rails
from tests.triage.stored import judged, new
from tests.triage.test_life import SHADOWS
from tests.vendor import FakeVendor
from vyrox.approvals import lease_changes, lease_rows, rows
from vyrox.approvals.asking import Asked
from vyrox.approvals.discord import configured
from vyrox.approvals.discord.slash import Typed, report
from vyrox.approvals.lease_changes import Taken, settle_attempt
from vyrox.approvals.lease_commands import end, extend
from vyrox.approvals.lease_rows import Lease
from vyrox.approvals.leases import LeaseEnd, Leases, request_of
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.rows import StoredProposal
from vyrox.approvals.shown import ShownProposal, show
from vyrox.approvals.states import DECIDE_S
from vyrox.clock import wall_clock
from vyrox.containment import execution
from vyrox.containment.attempt import Sent
from vyrox.edr.client import ActionResult, Order, Target
from vyrox.errors import (
    DatabaseUnavailableError,
    UnavailableError,
    VendorError,
    VendorOutcomeUnknownError,
)
from vyrox.models import Device, Isolation
from vyrox.notify import targets
from vyrox.notify.signature import make_secret
from vyrox.store import tables
from vyrox.store.database import Database, open_database
from vyrox.tenants.guard_rails import Rails
from vyrox.triage import life
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.life import Actor

HOUR = 3600
END = NOW + 4 * HOUR
ATTEMPT_S = 72.0


class StatefulVendor(FakeVendor):
    """A vendor that knows which devices are contained, and sends nothing that is not needed.

    Attributes:
        contained: The ids of contained devices.
        sent: The target and the device of each changing call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.contained: set[str] = set()
        self.sent: list[tuple[Target, str]] = []

    async def _act(self, target: Target, order: Order) -> ActionResult:
        is_contained = order.device.id in self.contained
        if is_contained == (target == "contained"):
            return ActionResult(confirmed=True, changed=False)
        answer = await super()._act(target, order)
        self.sent.append((target, order.device.id))
        (self.contained.add if target == "contained" else self.contained.discard)(order.device.id)
        return answer


class Site:
    """A containment with its vendor and clock, the dispatcher and the leases above it."""

    def __init__(self, proxy: Proxy, vendor: StatefulVendor) -> None:
        self.proxy = proxy
        self.vendor = vendor
        self.dispatching = Dispatching(proxy)
        self.leases = self.other_container()

    def other_container(self) -> Leases:
        return Leases(
            self.proxy.database, self.proxy.containment, lambda: None, self.proxy.clock, ATTEMPT_S
        )

    async def contain(self, **changes: object) -> StoredProposal:
        """Approve a containment now, and carry it out."""
        wanted = msgspec.structs.replace(LEASED, **changes)
        stored = await approved(self.proxy.database, wanted, now=self.proxy.clock.now)
        await self.dispatching.run()
        return stored

    async def at(self, now: float, *leases: Leases) -> None:
        """Let the leases do at this time what is due, and wait until it has ended."""
        self.proxy.clock.now = now
        for each in leases or (self.leases,):
            await each.run()
        for each in leases or (self.leases,):
            if tasks := list(vars(each)["_running"].values()):
                await asyncio.wait(tasks)

    async def lease(self) -> Lease:
        [lease] = await self.proxy.database.read(lease_rows.list_leases, TENANT)
        return lease

    async def count(self) -> int:
        return len(await self.proxy.database.read(lease_rows.list_leases, None))

    async def events(self) -> list[str]:
        """Return the kinds of the events of leases, in order."""
        found = await audit.events(self.proxy.database, TENANT)
        return [str(each["kind"]) for each in found if str(each["kind"]).startswith("lease.")]


@asynccontextmanager
async def opened_site(database: Database, *, dry_run: bool = False) -> AsyncIterator[Site]:
    vendor = StatefulVendor()
    async with running(database, dry_run=dry_run, vendor=vendor) as proxy:
        yield Site(proxy, vendor)


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    await prepared(database)
    async with opened_site(database) as opened:
        yield opened


async def test_a_containment_is_lifted_at_its_end_contract_68(site: Site) -> None:
    """A19: the lift is an entry of its own, approved with the lease; 30 min before, people know."""
    stored = await site.contain()
    assert (await site.lease()).ends_at == END
    await site.at(END - 1801)
    assert await site.events() == []
    await site.at(END - 1800)
    await site.at(END - 1)
    assert site.vendor.sent == [("contained", "workstation-01")]
    await site.at(END)
    await site.at(END + 1)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]
    assert await site.count() == 0
    contained, lifted = await entries(site.proxy.database)
    assert (lifted["action_type"], lifted["host"]) == ("LIFT_HOST_ISOLATION", "workstation-01")
    assert lifted["approved_by"] == f"lease {stored.sha256}"
    assert len(lifted) == len(contained) == 8
    assert await site.events() == ["lease.ending", "lease.lifting", "lease.ended"]
    [lifting] = await audit.events(site.proxy.database, kind="lease.lifting")
    assert (lifting["proposal_id"], lifting["action_hash"]) == (stored.id, lifted["hash"])
    assert await outcomes(site.proxy.database) == [
        (contained["hash"], "confirmed"),
        (lifted["hash"], "confirmed"),
    ]
    await site.at(END + 99_999)
    assert len(site.vendor.sent) == 2


@pytest.mark.parametrize("how", ["no_end", "execute", "dry_run", "contained_by_others", "failed"])
async def test_no_lease_begins_contract_68(database: Database, how: str) -> None:
    """A containment without an end, `/execute`, a dry run, and what Vyrox has not contained."""
    await prepared(database)
    async with opened_site(database, dry_run=how == "dry_run") as site:
        match how:
            case "no_end":
                await site.contain(lease_s=0)
            case "execute":
                await site.proxy.execute()
            case "dry_run":
                await site.contain()
            case "contained_by_others":
                site.vendor.contained.add("workstation-01")
                await site.contain()
                await site.at(NOW + 1)
                [ended] = await audit.events(database, kind="lease.ended")
                assert "not, or no longer, contained by Vyrox" in str(ended["reason"])
            case "failed":
                site.vendor.unprepared = VendorError("refused")
                await site.contain()
        assert await site.count() == 0
        sent = list(site.vendor.sent)
        await site.at(END)
        assert site.vendor.sent == sent


async def test_two_containers_lift_once_contract_68(site: Site) -> None:
    await site.contain()
    await site.at(END, site.leases, site.other_container())
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]
    assert len(await entries(site.proxy.database)) == 2


async def test_an_extension_moves_the_end_contract_68(site: Site) -> None:
    """The same containment, approved again, with a new lease: nothing is sent to the vendor."""
    await site.contain()
    site.proxy.clock.now = END - 60
    await site.contain()
    assert (await site.lease()).ends_at == END - 60 + 4 * HOUR
    assert (await site.lease()).since == NOW
    await site.at(END)
    assert site.vendor.sent == [("contained", "workstation-01")]
    await site.at(END - 60 + 4 * HOUR)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


async def test_an_extension_that_fails_moves_nothing_contract_68(site: Site) -> None:
    await site.contain()
    site.proxy.clock.now = END - 60
    site.vendor.lost = VendorError("away")
    await site.contain()
    site.vendor.lost = None
    assert (await site.lease()).ends_at == END
    await site.at(END)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


@pytest.mark.parametrize("how", ["no_end", "execute"])
async def test_a_later_containment_without_an_end_stays_contract_68(site: Site, how: str) -> None:
    """The lease is not of that containment, even if the vendor was not called for it."""
    await site.contain()
    site.proxy.clock.now = END - 60
    if how == "no_end":
        await site.contain(lease_s=0)
    else:
        await site.proxy.execute(msgspec.structs.replace(ISOLATION, approved_at=int(END) - 60))
    assert await site.count() == 0
    await site.at(END)
    assert site.vendor.sent == [("contained", "workstation-01")]


async def test_lifted_and_contained_again_it_stays_contract_68(site: Site) -> None:
    """The lease of a containment that a person has lifted does not lift the next one."""
    await site.contain()
    await site.contain(action_type="LIFT_HOST_ISOLATION", lease_s=None)
    site.proxy.clock.now = NOW + 60
    await site.proxy.execute()
    await site.at(END)
    assert [target for target, _ in site.vendor.sent] == ["contained", "lifted", "contained"]


async def test_what_an_analyst_lifted_is_not_lifted_contract_68(site: Site) -> None:
    """The vendor does not show it as contained any more: nothing is sent."""
    await site.contain()
    site.vendor.contained.clear()
    await site.at(END)
    await site.at(END + 1)
    assert site.vendor.sent == [("contained", "workstation-01")]
    assert await site.count() == 0
    [event] = (await audit.events(site.proxy.database, kind="execute.outcome"))[1:]
    assert "nothing was sent" in str(event["reason"])


async def test_frozen_it_waits_alarmed_and_lifts_after_the_freeze_contract_68(site: Site) -> None:
    """A19, and the issue's point 6: within a minute of `unfreeze`."""
    await site.contain()
    await set_rails(site.proxy.database, Rails(frozen_at=END - 1))
    for after_s in (0, 1, 2, 5 * HOUR):
        await site.at(END + after_s)
    assert await site.events() == ["lease.waiting"]
    assert await audit.events(site.proxy.database, kind="execute.refused") == []
    await set_rails(site.proxy.database, Rails())
    await site.at(END + 5 * HOUR + 1)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


async def test_frozen_during_the_attempt_it_does_not_wait_long_contract_68(site: Site) -> None:
    """The freeze stops an attempt that has begun; its end brings the next one at once."""
    await site.contain()
    site.vendor.prepared.clear()
    site.vendor.preparing.clear()
    site.proxy.clock.now = END
    await site.leases.run()
    await site.vendor.preparing.wait()
    await set_rails(site.proxy.database, Rails(frozen_at=END))
    site.vendor.prepared.set()
    await site.at(END + 1)
    await site.at(END + 2)
    assert site.vendor.sent == [("contained", "workstation-01")]
    await set_rails(site.proxy.database, Rails())
    await site.at(END + 3)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]
    assert "lease.failed" not in await site.events()


async def test_extended_during_the_freeze_it_stays_contract_68(site: Site) -> None:
    """Unless extended. A frozen tenant's extension is refused; after the freeze it is not."""
    await site.contain()
    await set_rails(site.proxy.database, Rails(frozen_at=END - 1))
    await site.at(END)
    await set_rails(site.proxy.database, Rails())
    site.proxy.clock.now = END + 10
    await site.contain()
    await site.at(END + 11)
    assert site.vendor.sent == [("contained", "workstation-01")]
    assert (await site.lease()).ends_at == END + 10 + 4 * HOUR


async def test_a_lift_that_fails_is_alarmed_and_tried_again_contract_68(site: Site) -> None:
    await site.contain()
    site.vendor.lost = VendorError("away")
    times = [END, END + 29, END + 30, END + 89, END + 90]
    for now in times:
        await site.at(now)
    failed = await audit.events(site.proxy.database, kind="lease.failed")
    assert [(each["attempts"], each["reason"]) for each in failed] == [
        (number, "away") for number in (1, 2, 3)
    ]
    assert (await site.lease()).last_error == "away"
    site.vendor.lost = None
    await site.at(END + 209)
    assert site.vendor.sent == [("contained", "workstation-01")]
    await site.at(END + 210)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


async def test_an_unconfirmed_lift_is_alarmed_and_tried_again_contract_68(site: Site) -> None:
    """The vendor has accepted it, and then it did not happen."""
    await site.contain()
    site.vendor.answer = ActionResult(confirmed=False)
    await site.at(END)
    await site.at(END + 100)  # it is being checked
    assert len(site.vendor.sent) == 2
    await site.proxy.database.write(fail_checks)
    site.vendor.contained.add("workstation-01")
    site.vendor.answer = ActionResult(confirmed=True)
    await site.at(END + 101)
    await site.at(END + 102)
    assert site.vendor.sent[2:] == [("lifted", "workstation-01")]
    assert await site.events() == [
        *("lease.lifting", "lease.failed", "lease.lifting", "lease.ended"),
    ]


def fail_checks(connection: Connection) -> None:
    """Delete the lifts that are being checked, as a check that has failed does."""
    c = tables.confirmations.c
    connection.execute(tables.confirmations.delete().where(c.target == "lifted"))


async def test_contained_by_others_it_is_not_lifted_contract_68(site: Site) -> None:
    """Defender's record shows an isolation by an analyst: the lease ends with an alarm."""
    await site.proxy.database.write(be_of_defender)
    await site.contain()
    site.vendor.contained_by = (Isolation("analyst", "by hand"),)
    await site.at(END)
    assert len(site.vendor.sent) == 1
    assert await site.count() == 0
    assert await site.events() == ["lease.failed", "lease.ended"]


def be_of_defender(connection: Connection) -> None:
    """Make the tenant's credentials those of Defender, and forget the alert of CrowdStrike."""
    connection.execute(tables.edr_credentials.update().values(vendor="defender"))
    connection.execute(tables.alerts.delete())


async def test_more_than_24_hours_in_all_need_two_contract_68(site: Site) -> None:
    """A18: extensions count together, also if the device is named otherwise."""
    first = await site.contain(lease_s=20 * HOUR)
    assert (await shown(site, first)).required == 1
    site.proxy.clock.now = NOW + 3 * HOUR
    short = await proposed(
        site.proxy.database,
        msgspec.structs.replace(LEASED, lease_s=20 * HOUR),
        site.proxy.clock.now,
    )
    assert (await site.proxy.database.read(show, TENANT, short.proposal_id, NOW)).required == 1
    site.proxy.clock.now = NOW + 4 * HOUR
    long = await site.contain(lease_s=20 * HOUR, host="WORKSTATION-01")
    assert (await shown(site, long)).required == 2
    assert [
        each.required for each in [await shown(site, await site.contain(lease_s=25 * HOUR))]
    ] == [2]


async def test_more_than_24_hours_are_found_at_the_device_contract_68(site: Site) -> None:
    """A11: only the vendor knows that the name is the device's; nothing is sent or extended."""
    await site.contain(lease_s=20 * HOUR)
    site.vendor.devices["ws-1"] = Device("workstation-01", "ws-1.corp.local", ())
    site.proxy.clock.now = NOW + 5 * HOUR
    stored = await site.contain(lease_s=20 * HOUR, host="ws-1")
    assert (await shown(site, stored)).outcome == "failed"
    assert "24 h in all" in str((await shown(site, stored)).outcome_reason)
    assert (await site.lease()).ends_at == NOW + 20 * HOUR


async def shown(site: Site, stored: StoredProposal) -> ShownProposal:
    return await site.dispatching.shown(stored)


async def test_a_clock_that_was_ahead_does_not_keep_it_for_long_contract_68(site: Site) -> None:
    """Contract 40: a lease that begins in the future was stored by a wrong clock."""
    site.proxy.clock.now = NOW + 90 * 24 * HOUR
    await site.contain()
    await site.at(NOW)
    lease = await site.lease()
    assert (lease.began_at, lease.ends_at, lease.since) == (NOW, END, NOW)
    await site.at(END)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


async def test_untrusted_clocks_lift_nothing_contract_68(site: Site) -> None:
    def check() -> None:
        raise UnavailableError("a clock has jumped")

    await site.contain()
    site.proxy.clock.now = END
    leases = Leases(site.proxy.database, site.proxy.containment, check, site.proxy.clock, ATTEMPT_S)
    with pytest.raises(UnavailableError):
        await leases.run()
    assert len(site.vendor.sent) == 1


async def alert_at(site: Site, now: float) -> None:
    """Judge an alert of the device that comes now and opens an incident, or joins it."""
    alert = new(command=SHADOWS, timestamp=now, device_id="workstation-01", hostname="ws-1")
    await judged(site.proxy.database, alert, now=now)


async def test_an_alert_postpones_the_end_once_contract_68(site: Site) -> None:
    """By 1 h, also if there are more alerts; the approvers are asked again before the new end."""
    await site.contain()
    await site.at(END - 1800)
    await alert_at(site, END - 60)
    await site.at(END)
    assert (await site.lease()).ends_at == END + HOUR
    await site.at(END + 1799)
    await alert_at(site, END + HOUR - 60)
    await site.at(END + 1800)
    await site.at(END + HOUR - 1)
    assert len(site.vendor.sent) == 1
    await site.at(END + HOUR)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]
    assert await site.events() == [
        "lease.ending",
        "lease.postponed",
        "lease.ending",
        "lease.lifting",
    ]


@pytest.mark.parametrize(
    ("which", "is_postponed"),
    [
        pytest.param({}, True, id="device"),
        pytest.param({"device_id": "", "hostname": "ws-1.corp.local"}, True, id="name"),
        pytest.param({"age_s": 1801}, False, id="old"),
        pytest.param({"device_id": "id-9", "hostname": "srv-9"}, False, id="other_device"),
        pytest.param({"tenant_id": "initech"}, False, id="other_tenant"),
        pytest.param({"command": "whoami"}, False, id="below_review"),
        pytest.param({"closed": True}, False, id="closed"),
    ],
)
async def test_which_alerts_postpone_the_end_contract_68(
    site: Site, which: dict[str, object], is_postponed: bool
) -> None:
    site.vendor.devices["workstation-01"] = Device("workstation-01", "ws-1", ())
    await site.contain()
    values = {"device_id": "workstation-01", "hostname": "ws-1", "command": SHADOWS, **which}
    is_closed, age_s = bool(values.pop("closed", False)), float(values.pop("age_s", 60))  # type: ignore[arg-type]
    values["timestamp"] = END - age_s
    tenant_id = str(values.get("tenant_id", TENANT))
    await judged(
        site.proxy.database,
        new(**values),  # type: ignore[arg-type]
        tenant_id=tenant_id,
        now=END - age_s,
    )
    if is_closed:
        key, actor = IncidentKey(TENANT, 1), Actor("jane", END - 1)
        await site.proxy.database.write(life.close, key, actor, "benign_expected", "a test")
    await site.at(END)
    assert [target for target, _ in site.vendor.sent] == ["contained", "lifted"][: 2 - is_postponed]


async def test_approvers_are_told_in_every_channel_contract_68(site: Site) -> None:
    """A19: asked, postponed, waiting and failed, each once, to all targets and at Discord."""
    database = site.proxy.database
    vault = MultiFernet([Fernet(Fernet.generate_key())])
    sealed = targets.seal(vault, TENANT, "https://hooks.example/x", make_secret())
    await database.write(targets.add_target, sealed, ("hooks.example", "vyrox", "urgent"), NOW)
    await database.write(configured.configure, CHANNEL, "operator", NOW)
    stored = await site.contain()
    await site.at(END - 1800)
    await alert_at(site, END - 60)
    await site.at(END)
    await set_rails(database, Rails(frozen_at=END))
    await site.at(END + HOUR)
    await set_rails(database, Rails())
    site.vendor.lost = VendorError("away")
    await site.at(END + HOUR + 1)
    query = sa.select(tables.notifications.c.body).order_by(tables.notifications.c.created_at)
    bodies = await database.read(lambda connection: connection.execute(query).scalars().all())
    notices = [msgspec.json.decode(body) for body in bodies]
    assert [each["kind"] for each in notices] == [
        *("lease.ending", "lease.postponed", "lease.waiting", "lease.failed"),
    ]
    assert {each["link"] for each in notices} == {f"/approvals/{stored.id}"}
    assert notices[0]["text"].startswith("workstation-01 is contained until 2024-01-01 04:00 UTC")
    assert notices[3]["text"].endswith("and away")
    posted = sa.select(tables.discord_messages).where(tables.discord_messages.c.text.is_not(None))
    messages = await database.read(lambda connection: connection.execute(posted).all())
    assert sorted(each.text for each in messages) == sorted(each["text"] for each in notices)
    assert {each.link for each in messages} == {f"/approvals/{stored.id}"}
    assert sorted(each.kind for each in messages) == [*["alarm"] * 3, "notice"]


async def test_what_changes_before_the_call_stops_the_lift_contract_68(site: Site) -> None:
    """The end is moved between the claim and the call: nothing is sent, and nothing is alarmed."""
    await site.contain()
    site.vendor.prepared.clear()
    site.vendor.preparing.clear()
    site.proxy.clock.now = END
    await site.leases.run()
    await site.vendor.preparing.wait()
    lease = await site.lease()
    await site.proxy.database.write(move_end, lease.proposal_id, END + 1)
    site.vendor.prepared.set()
    await site.at(END)
    assert len(site.vendor.sent) == 1
    assert "lease.failed" not in await site.events()
    [_, event] = await audit.events(site.proxy.database, kind="execute.outcome")
    assert "the end of the lease was moved" in str(event["reason"])
    await site.at(END + 1)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


def move_end(connection: Connection, proposal_id: str, ends_at: float) -> None:
    lease_rows.change(connection, proposal_id, ends_at=ends_at)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"host": "other"}, "not what the lease is of", id="host"),
        pytest.param({"tenant_id": "initech"}, "not what the lease is of", id="tenant"),
    ],
)
async def test_a_lease_lifts_its_own_device_only_contract_68(
    site: Site, changes: dict[str, str], why: str
) -> None:
    await site.contain()
    lease = await site.lease()
    request = msgspec.structs.replace(request_of(lease, END), **changes)
    objection = await site.proxy.database.read(
        find_objection, lease, Sent(request, "crowdstrike", None, None), END
    )
    assert why in str(objection)
    other = Sent(request_of(lease, END), "crowdstrike", Device("another"), None)
    assert await site.proxy.database.read(find_objection, lease, other, END) is not None
    right = Sent(request_of(lease, END), "crowdstrike", Device("workstation-01"), None)
    assert await site.proxy.database.read(find_objection, lease, right, END) is None
    assert "was moved" in str(await site.proxy.database.read(find_objection, lease, right, END - 1))
    assert "is over" in str(await site.proxy.database.read(find_objection, lease, right, END + 60))


def find_objection(connection: Connection, lease: Lease, sent: Sent, now: float) -> str | None:
    return LeaseEnd(lease, END + 60).find_objection(connection, sent, now, is_begun=True)


async def test_a_required_approval_does_not_stop_the_lift_contract_68(site: Site) -> None:
    """The issue's point 10: with REQUIRE_APPROVAL, the end of a lease needs no other proposal."""
    vars(site.proxy.containment)["_needs_approval"] = True
    await site.contain()
    await site.at(END)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
async def test_a_service_that_ends_at_any_write_lifts_once_contract_68(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    fault: Literal["before", "after"],
) -> None:
    """The reservation, the claim, the device's lease, the result or the record of it is lost."""
    monkeypatch.setattr(execution, "RECORD_RETRY_S", 0.01)
    await site.contain()
    database = site.proxy.database
    database.faults[database.writes + number] = fault
    with suppress(DatabaseUnavailableError):
        await site.at(END)
    for after_s in (1, 200, 400, 5000):
        await site.at(END + after_s, site.other_container())
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]
    assert await site.count() == 0
    lifts = [each for each in await entries(database) if each["action_type"] != "HOST_ISOLATION"]
    assert len(lifts) <= 2


async def test_after_a_freeze_no_pause_is_waited_for_contract_68(site: Site) -> None:
    """Within a minute of `unfreeze`, whatever has failed before."""
    await site.contain()
    site.vendor.lost = VendorError("away")
    times = [END, END + 30, END + 90, END + 210, END + 450, END + 930]
    for now in times:
        await site.at(now)
    site.vendor.lost = None
    await set_rails(site.proxy.database, Rails(frozen_at=END + 931))
    await site.at(END + 931)
    await set_rails(site.proxy.database, Rails())
    await site.at(END + 932)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


async def test_a_lift_whose_outcome_is_unknown_is_checked_first_contract_68(site: Site) -> None:
    """Contract 37: the check at the vendor comes before the alarm, and before the next lift."""
    await site.contain()
    site.vendor.failure = VendorOutcomeUnknownError("no response")
    await site.at(END)
    await site.at(END + 600)
    assert await site.events() == ["lease.lifting"]
    await site.proxy.database.write(fail_checks)
    site.vendor.failure = None
    await site.at(END + 601)
    await site.at(END + 602)
    assert await site.events() == [
        *("lease.lifting", "lease.failed", "lease.lifting", "lease.ended"),
    ]


async def test_a_late_end_of_an_attempt_changes_nothing_contract_68(site: Site) -> None:
    """Another container has begun the next attempt since."""
    await site.contain()
    site.vendor.lost = VendorError("away")
    await site.at(END)
    await site.at(END + 30)
    before = await site.lease()
    assert before.attempts == 2
    is_told = await site.proxy.database.write(
        settle_attempt, before.proposal_id, 1, "away", END + 31
    )
    assert (is_told, await site.lease()) == (False, before)


async def test_approvers_see_the_ends_at_discord_contract_67(site: Site) -> None:
    await site.contain()
    await site.contain(host="srv-9", lease_s=0)
    command = Typed("contained", "", TENANT, account_of("ann"))
    text = await site.proxy.database.read(report, command, NOW)
    assert "workstation-01 (crowdstrike), until 2024-01-01 04:00 UTC" in text
    assert "srv-9 (crowdstrike), without an end" in text


async def test_a_vendors_text_may_be_anything_contract_68(site: Site) -> None:
    """Contract 42: what the database cannot store is left out, and the alarm is not lost."""
    await site.contain()
    site.vendor.lost = VendorError("no\0t \ud800 found")
    await site.at(END)
    [failed] = await audit.events(site.proxy.database, kind="lease.failed")
    assert failed["reason"] == (await site.lease()).last_error == "not  found"


async def test_a_lease_that_fails_holds_up_no_other_contract_68(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.contain()
    first = await site.lease()
    await site.contain(host="srv-9")

    def fail(connection: Connection, lease: Lease, *rest: object) -> Taken:
        if lease.proposal_id == first.proposal_id:
            raise TypeError("a bug")
        return reserve(connection, lease, *rest)

    reserve: Callable[..., Taken] = vars(lease_changes)["_reserve"]
    monkeypatch.setattr(lease_changes, "_reserve", fail)
    await site.at(END)
    assert site.vendor.sent[2:] == [("lifted", "srv-9")]
    monkeypatch.undo()
    await site.at(END + 1)
    assert site.vendor.sent[3:] == [("lifted", "workstation-01")]


async def approve(site: Site, asked: Asked) -> None:
    """Let a person approve what a command has proposed, and carry it out."""
    stored = await site.proxy.database.read(rows.require, TENANT, asked.proposal_id)
    found = Proposed(stored.id, stored.sha256, int(stored.expires_at), "pending")
    await say(site.proxy.database, found, "bob", now=site.proxy.clock.now)
    await site.dispatching.run()


async def test_what_the_commands_propose_can_be_carried_out_contract_68(site: Site) -> None:
    """`vyrox lease extend` and `end` name the device as the vendor does now (A11)."""
    site.vendor.devices["WS-1"] = site.vendor.devices["id-1"] = Device("id-1", "WS-1.corp", ())
    # The commands take the time from the database, if it has a clock.
    database, now = site.proxy.database, wall_clock()
    site.proxy.clock.now = now
    await site.contain(host="WS-1", hostname="ws-1")
    by = ("ann", "why", now, DECIDE_S)
    await approve(site, await database.write(extend, TENANT, "ws-1.corp", HOUR, *by))
    assert (await site.lease()).ends_at == now + HOUR
    await approve(site, await database.write(end, TENANT, "ID-1", *by))
    assert site.vendor.sent == [("contained", "id-1"), ("lifted", "id-1")]
    await site.at(now + 1)
    assert await site.events() == ["lease.ended"]


async def test_a_dry_run_lifts_nothing_and_is_alarmed_contract_68(site: Site) -> None:
    """The service was started again with DRY_RUN: the device stays contained, and people know."""
    await site.contain()
    vars(site.proxy.containment)["_dry_run"] = True
    await site.at(END)
    [failed] = await audit.events(site.proxy.database, kind="lease.failed")
    assert "DRY_RUN" in str(failed["reason"])
    vars(site.proxy.containment)["_dry_run"] = False
    await site.at(END + 30)
    assert site.vendor.sent[1:] == [("lifted", "workstation-01")]


async def test_24_hours_need_one_person_contract_68(site: Site) -> None:
    """The lease's own row does not count when the call is sent some seconds later."""
    site.vendor.prepared.clear()
    await approved(site.proxy.database, msgspec.structs.replace(LEASED, lease_s=24 * HOUR))
    await site.dispatching.dispatcher.run()
    await site.vendor.preparing.wait()
    site.proxy.clock.now = NOW + 5
    site.vendor.prepared.set()
    await site.dispatching.ended()
    assert site.vendor.sent == [("contained", "workstation-01")]
    assert (await site.lease()).ends_at == NOW + 24 * HOUR


def be_over(connection: Connection, now: float) -> None:
    """Bring the end of every lease to now, and allow its lift to begin."""
    changes = {"ends_at": now - 1, "next_at": 0.0}
    connection.execute(tables.leases.update().values(changes))


@pytest.mark.long
@pytest.mark.parametrize("stops", ["before", "after"])
async def test_killed_between_the_end_and_the_lift_it_is_lifted_contract_68(
    data_dir: Path, stops: str
) -> None:
    """Kill -9 in the call of the lift. This vendor does not know that it has lifted already."""
    places = KillSite(data_dir, None)
    async with places.service(), open_database(None, data_dir) as database:
        await add_approvers(database)
        stored = await approved(database, LEASED, now=wall_clock())

        async def is_contained() -> bool:
            shown = await database.read(show, TENANT, stored.id, wall_clock())
            return shown.outcome == "confirmed"

        await until(is_contained)
    async with places.service(stops) as service:
        async with open_database(None, data_dir) as database:
            await database.write(be_over, wall_clock())
        await service.wait_for("vendor.stopped")
        service.signal(signal.SIGKILL)
        await service.ended()
    await places.expire(lease_until=0)
    async with open_database(None, data_dir) as database:
        await database.write(be_over, wall_clock())
        async with places.service():

            async def is_over() -> bool:
                return not await database.read(lease_rows.list_leases, None)

            await until(is_over)
        assert await audit.events(database, kind="lease.ended") != []
    contained, *lifts = [entry["hash"] for entry in await places.entries()]
    assert len(lifts) == 2
    called = lifts if stops == "after" else lifts[1:]
    assert places.calls() == [("workstation-01", each) for each in [contained, *called]]
