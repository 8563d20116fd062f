"""Devices: one action at a time, and Vyrox lifts only its own containments.

Contract 34 and 36.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import NOW, TENANT, entries, events
from tests.containment.test_execution import (
    EXECUTED,
    ISOLATION,
    KILL,
    LEASE_S,
    Proxy,
    hashes,
    outcomes,
    running,
)
from tests.polling import until
from tests.vendor import AID, add_alert, give_credentials
from vyrox.containment import (
    claims,
    confirmation,
    contained,
    devices,
    execution,
    settlement,
    vendor_action,
)
from vyrox.containment.attempt import Attempt, AttemptResult, DeviceLease, Outcome
from vyrox.containment.confirmation import _Settled
from vyrox.containment.devices import CONFIRM_FIRST_S, Blocked, LeaseRequest
from vyrox.edr.client import ActionResult, Target
from vyrox.errors import (
    RefusedByPolicyError,
    UnavailableError,
    VendorError,
    VendorLookUpError,
    VendorOutcomeUnknownError,
)
from vyrox.models import ContainmentRequest, Device, Isolation
from vyrox.store import tables
from vyrox.store.database import Database
from vyrox.tenants import guard_rails

LIFT = msgspec.structs.replace(ISOLATION, request_id="lift-1", action_type="LIFT_HOST_ISOLATION")


def other(request: ContainmentRequest, name: str) -> ContainmentRequest:
    return msgspec.structs.replace(request, request_id=name)


def not_blocked(result: DeviceLease | Blocked | None) -> DeviceLease | None:
    assert not isinstance(result, Blocked)
    return result


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_action, "DEVICE_RETRY_S", 0.01)


async def test_execute_one_action_at_a_device_at_a_time_contract_36(
    database: Database, soon: None
) -> None:
    async with running(database) as proxy, running(database) as second:
        proxy.acting.gate.clear()
        first = proxy.start()
        await proxy.acting.began.wait()
        waiting = second.start(other(ISOLATION, "2"))
        elsewhere = msgspec.structs.replace(ISOLATION, request_id="3", host="workstation-02")
        assert await second.execute(elsewhere) == EXECUTED
        assert second.acting.did == [("contained", "workstation-02")]
        proxy.acting.gate.set()
        assert await first == EXECUTED
        assert await waiting == EXECUTED
        assert second.acting.did[1:] == [("contained", "workstation-01")]


async def test_execute_fails_if_the_device_stays_leased_contract_36(
    database: Database, soon: None
) -> None:
    async with running(database) as proxy, running(database, deadline_s=0.1) as second:
        proxy.acting.gate.clear()
        first = proxy.start(KILL)
        await proxy.acting.began.wait()
        with pytest.raises(VendorError, match="another action is running on the device") as caught:
            await second.execute(other(ISOLATION, "2"))
        assert not isinstance(caught.value, VendorOutcomeUnknownError)
        assert second.acting.did == []
        proxy.acting.gate.set()
        assert await first == EXECUTED
    assert sorted(str(outcome) for _, outcome in await outcomes(database)) == [
        "confirmed",
        "failed",
    ]


async def test_execute_gets_a_device_whose_lease_has_expired_contract_36(
    database: Database, soon: None
) -> None:
    async with running(database) as proxy, running(database) as second:
        proxy.acting.gate.clear()
        dead = proxy.start()
        await proxy.acting.began.wait()
        second.clock.now += LEASE_S
        assert await second.execute(other(ISOLATION, "2")) == EXECUTED
        proxy.acting.gate.set()
        await dead
    # The first attempt ended after its lease. It has not released the second one's lease.
    [(owner, token)] = await database.read(lease_rows)
    assert (owner, token) == (None, 2)


def lease_rows(connection: Connection) -> list[tuple[object, object]]:
    query = sa.select(tables.devices.c.owner, tables.devices.c.token)
    return [(row.owner, row.token) for row in connection.execute(query)]


async def test_release_after_the_lease_has_expired_releases_nothing_contract_36(
    database: Database,
) -> None:
    def wanted(owner: str, now: float) -> LeaseRequest:
        return LeaseRequest(
            TENANT, "crowdstrike", Device(AID), "r", owner, owner, "contained", now + 10, now
        )

    def acquire(connection: Connection, request: LeaseRequest) -> DeviceLease | None:
        return not_blocked(devices.acquire(connection, [request])[0].result)

    def end(connection: Connection, lease: DeviceLease) -> None:
        devices.release(connection, lease, "failed", None, True, NOW)

    first = await database.write(acquire, wanted("first", NOW))
    assert await database.write(acquire, wanted("too soon", NOW + 9.999)) is None
    second = await database.write(acquire, wanted("second", NOW + 10))
    assert first is not None
    assert second is not None
    assert second.token > first.token
    await database.write(end, first)
    assert await database.write(acquire, wanted("third", NOW + 11)) is None
    await database.write(end, second)
    assert await database.write(acquire, wanted("fourth", NOW + 12)) is not None


async def test_execute_of_a_contained_host_sends_nothing_and_records_it_contract_36(
    database: Database,
) -> None:
    async with running(database) as proxy:
        proxy.acting.answer = ActionResult(confirmed=True, changed=False)
        assert await proxy.execute() == EXECUTED
    [recorded] = await events(database, kind="execute.outcome")
    assert recorded["outcome"] == "confirmed"
    assert recorded["reason"] == "the device was in this state already; nothing was sent"


async def test_lift_undoes_what_vyrox_contained_and_nothing_else_contract_34(
    database: Database,
) -> None:
    async with running(database) as proxy:
        with pytest.raises(RefusedByPolicyError, match="not contained by vyrox"):
            await proxy.execute(LIFT)
        assert await proxy.execute() == EXECUTED
        of_another = msgspec.structs.replace(LIFT, tenant_id="other-corp")
        with pytest.raises(RefusedByPolicyError):
            await proxy.execute(of_another)
        assert await proxy.execute(LIFT) == EXECUTED
        with pytest.raises(RefusedByPolicyError):
            await proxy.execute(other(LIFT, "lift-2"))
        forced = msgspec.structs.replace(LIFT, request_id="lift-3", force=True)
        assert await proxy.execute(forced) == EXECUTED
        assert [target for target, _ in proxy.acting.did] == ["contained", "lifted", "lifted"]
    assert [entry["action_type"] for entry in await entries(database)] == [
        "HOST_ISOLATION",
        "LIFT_HOST_ISOLATION",
        "LIFT_HOST_ISOLATION",
    ]
    refused = await events(database, kind="execute.refused")
    assert [event["rule"] for event in refused] == ["not contained by vyrox"] * 2


async def test_lift_knows_the_device_by_id_and_by_name_contract_34(database: Database) -> None:
    uuid = "12345678-1234-1234-1234-123456789ABC"
    device = Device(AID, "Workstation-01")
    async with running(database) as proxy:
        proxy.acting.devices = dict.fromkeys((AID, uuid, "workstation-01"), device)
        for number, (contain, lift) in enumerate(
            [(AID, "workstation-01"), ("workstation-01", AID), (uuid, AID), (AID, uuid)]
        ):
            isolation = msgspec.structs.replace(ISOLATION, request_id=f"c{number}", host=contain)
            assert await proxy.execute(isolation) == EXECUTED
            undo = msgspec.structs.replace(LIFT, request_id=f"l{number}", host=lift)
            assert await proxy.execute(undo) == EXECUTED


@pytest.mark.parametrize(
    ("failure", "may_lift"),
    [
        pytest.param(VendorError("no such host"), False, id="reject_after_a_failure"),
        pytest.param(VendorOutcomeUnknownError("reset"), True, id="allow_after_an_unknown"),
    ],
)
async def test_lift_after_what_may_have_contained_contract_34(
    database: Database, failure: VendorError, may_lift: bool
) -> None:
    async with running(database) as proxy:
        proxy.acting.failure = failure
        with pytest.raises(VendorError):
            await proxy.execute()
        proxy.acting.failure = None
        if may_lift:
            assert await proxy.execute(LIFT) == EXECUTED
        else:
            with pytest.raises(RefusedByPolicyError):
                await proxy.execute(LIFT)


@pytest.mark.parametrize(
    "confirmed",
    [
        pytest.param(True, id="reject_contained_before"),
        # An analyst has isolated the host. It is offline, so it stays pending, perhaps for days.
        pytest.param(False, id="reject_being_contained"),
    ],
)
async def test_lift_of_what_others_contain_is_refused_contract_34(
    database: Database, confirmed: bool
) -> None:
    async with running(database) as proxy:
        proxy.acting.answer = ActionResult(confirmed=confirmed, changed=False)
        assert await proxy.execute() == EXECUTED
        with pytest.raises(RefusedByPolicyError):
            await proxy.execute(LIFT)


DEFENDED = msgspec.structs.replace(ISOLATION, alert_id="alt_mde")
RELEASE = msgspec.structs.replace(LIFT, alert_id="alt_mde")


@asynccontextmanager
async def defending(database: Database) -> AsyncIterator[Proxy]:
    """A vendor whose record shows what contains a device, as Defender's does."""
    async with running(database) as proxy:
        await give_credentials(database, [TENANT], "defender")
        await add_alert(database, TENANT, "alt_mde", source="defender")
        yield proxy


@pytest.mark.parametrize(
    ("contained_by", "may_lift"),
    [
        pytest.param(("vyrox-1",), True, id="allow_vyroxs"),
        pytest.param((), True, id="allow_an_empty_record"),
        pytest.param(("analyst-1",), False, id="reject_what_was_isolated_again"),
        pytest.param(("analyst-1", "vyrox-1"), False, id="reject_what_was_isolated_on_top"),
    ],
)
async def test_lift_of_what_others_have_contained_again_is_refused_contract_34(
    database: Database, contained_by: tuple[str, ...], may_lift: bool
) -> None:
    """An analyst released Vyrox's isolation, and isolated the host again later."""
    async with defending(database) as proxy:
        proxy.acting.answer = ActionResult(confirmed=True, reference="vyrox-1")
        assert await proxy.execute(DEFENDED) == EXECUTED
        proxy.acting.contained_by = tuple(map(Isolation, contained_by))
        if may_lift:
            assert await proxy.execute(RELEASE) == EXECUTED
            return
        with pytest.raises(RefusedByPolicyError, match="contained by others"):
            await proxy.execute(RELEASE)
        assert len(await entries(database)) == 1
        forced = msgspec.structs.replace(RELEASE, request_id="forced", force=True)
        assert await proxy.execute(forced) == EXECUTED


async def test_lift_of_what_vyrox_contained_twice_is_vyroxs_contract_34(
    database: Database,
) -> None:
    """Vyrox repeated an old isolation, and the record shows both."""
    async with defending(database) as proxy:
        for number in range(2):
            confirmed = number == 1  # this also ends the checks of the first
            proxy.acting.answer = ActionResult(confirmed=confirmed, reference=f"vyrox-{number}")
            assert await proxy.execute(other(DEFENDED, f"{number}")) == EXECUTED
        proxy.acting.contained_by = (Isolation("vyrox-1"), Isolation("vyrox-0"))
        assert await proxy.execute(RELEASE) == EXECUTED
        with pytest.raises(RefusedByPolicyError, match="not contained by vyrox"):
            await proxy.execute(other(RELEASE, "again"))


async def test_lift_on_top_of_another_ones_old_isolation_is_refused_contract_34(
    database: Database,
) -> None:
    """Vyrox repeated an analyst's old isolation. The analyst's still contains the host."""
    async with defending(database) as proxy:
        proxy.acting.answer = ActionResult(confirmed=True, reference="vyrox-1")
        assert await proxy.execute(DEFENDED) == EXECUTED
        proxy.acting.contained_by = (Isolation("vyrox-1"), Isolation("analyst-1"))
        with pytest.raises(RefusedByPolicyError, match="contained by others"):
            await proxy.execute(RELEASE)


@pytest.mark.parametrize(
    ("comment", "may_lift"),
    [
        pytest.param("Vyrox: request c1, approved by jane", True, id="allow_vyroxs"),
        pytest.param("Vyrox: request c2, approved by jane", False, id="reject_another_request"),
        pytest.param("isolated again, by the analyst", False, id="reject_an_analysts"),
        pytest.param(None, False, id="reject_without_a_comment"),
    ],
)
async def test_lift_after_an_unknown_outcome_goes_by_the_comment_contract_34(
    database: Database, comment: str | None, may_lift: bool
) -> None:
    """The vendor's response was lost, so the id of Vyrox's own action is not known."""
    async with defending(database) as proxy:
        proxy.acting.failure = VendorOutcomeUnknownError("reset")
        with pytest.raises(VendorOutcomeUnknownError):
            await proxy.execute(other(DEFENDED, "c1"))
        proxy.acting.failure = None
        proxy.acting.contained_by = (Isolation("some-id", comment),)
        if may_lift:
            assert await proxy.execute(RELEASE) == EXECUTED
            return
        with pytest.raises(RefusedByPolicyError, match="contained by others"):
            await proxy.execute(RELEASE)
        assert len(await entries(database)) == 1


async def test_lift_whose_record_cannot_be_read_is_502_and_claims_nothing_contract_34(
    database: Database,
) -> None:
    async with defending(database) as proxy:
        assert await proxy.execute(DEFENDED) == EXECUTED
        proxy.acting.lost = VendorError("away")
        with pytest.raises(VendorLookUpError):
            await proxy.execute(RELEASE)
        assert len(await entries(database)) == 1


async def test_lift_by_a_name_that_is_another_devices_by_now_sends_nothing_contract_34(
    database: Database,
) -> None:
    async with running(database) as proxy:
        proxy.acting.devices = {LIFT.host: Device(AID, LIFT.host)}
        assert await proxy.execute() == EXECUTED
        proxy.acting.devices = {LIFT.host: Device("b" * 32, LIFT.host)}
        with pytest.raises(VendorError, match="Vyrox has not contained this device") as caught:
            await proxy.execute(LIFT)
        assert not isinstance(caught.value, VendorOutcomeUnknownError)
        assert [target for target, _ in proxy.acting.did] == ["contained"]
        forced = msgspec.structs.replace(LIFT, request_id="lift-2", force=True)
        assert await proxy.execute(forced) == EXECUTED
        assert [target for target, _ in proxy.acting.did] == ["contained", "lifted"]


async def test_freeze_stops_what_waits_for_its_device_contract_35(
    database: Database, soon: None
) -> None:
    async with running(database) as proxy:
        proxy.acting.gate.clear()
        first = proxy.start()
        await proxy.acting.began.wait()
        waiting = proxy.start(other(ISOLATION, "2"))

        async def both_are_claimed() -> bool:
            return len(await entries(database)) == 2

        await until(both_are_claimed)
        await database.write(freeze)
        proxy.acting.gate.set()
        assert await first == EXECUTED
        with pytest.raises(VendorError, match="the tenant has been frozen"):
            await waiting
    assert len(proxy.acting.did) == 1


def freeze(connection: Connection) -> bool:
    return guard_rails.freeze(connection, TENANT, NOW, frozen=True).changed


async def test_lease_whose_commit_was_not_seen_ends_with_its_attempt_contract_36(
    database: Database,
) -> None:
    """An action that was not sent leaves no lease, no check and no containment to lift."""
    owner, entry = "owner", "e" * 64

    def acquire(connection: Connection, owner: str) -> DeviceLease | None:
        request = LeaseRequest(
            TENANT, "crowdstrike", Device(AID), "r", owner, entry, "contained", NOW + 60, NOW
        )
        return not_blocked(devices.acquire(connection, [request])[0].result)

    def record(connection: Connection) -> None:
        claim = Attempt(ISOLATION, owner, "trace", dry_run=False, lease_s=60, now=NOW)
        claims.record(connection, [AttemptResult(claim, entry, "failed", NOW, "not seen")])

    def left(connection: Connection) -> tuple[bool, int | None]:
        count = sa.select(sa.func.count()).select_from(tables.confirmations)
        may_be_contained = contained.is_host_contained(connection, TENANT, "crowdstrike", AID)
        return may_be_contained, connection.execute(count).scalar()

    assert await database.write(acquire, owner) is not None
    assert await database.read(left) == (True, 1)
    await database.write(record)
    assert await database.read(left) == (False, 0)
    assert await database.write(acquire, "the next") is not None


async def test_execute_whose_lease_was_not_seen_to_be_committed_leaves_nothing_contract_36(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the first attempt to record fails, as in the same outage."""
    monkeypatch.setattr(execution, "RECORD_RETRY_S", 0.0)
    async with running(database) as proxy:
        proxy.database.faults = {2: "after", 3: "before"}
        with pytest.raises(UnavailableError):
            await proxy.execute()
        assert proxy.acting.did == []

        async def recorded() -> bool:
            return await outcomes(database) != []

        await until(recorded)
        [entry] = await hashes(database)
        assert await outcomes(database) == [(entry, "failed")]
        assert await database.read(lease_rows) == [(None, 1)]
        assert not await database.read(left)
        with pytest.raises(RefusedByPolicyError):
            await proxy.execute(LIFT)
        assert await proxy.execute() == EXECUTED


def left(connection: Connection) -> bool:
    return connection.execute(sa.select(tables.confirmations)).first() is not None


async def test_lift_that_failed_can_be_tried_again_contract_34(database: Database) -> None:
    async with running(database) as proxy:
        assert await proxy.execute() == EXECUTED
        for failure in (VendorError("busy"), VendorOutcomeUnknownError("reset")):
            proxy.acting.failure = failure
            with pytest.raises(VendorError):
                await proxy.execute(LIFT)
        proxy.acting.failure = None
        assert await proxy.execute(LIFT) == EXECUTED


async def test_lift_in_a_dry_run_lifts_nothing_contract_34(database: Database) -> None:
    async with running(database, dry_run=True) as proxy:
        assert (await proxy.execute(LIFT)).status == "dry_run"
    assert proxy.acting.did == []
    assert [entry["dry_run"] for entry in await entries(database)] == [True]


async def test_name_with_a_nul_from_the_vendor_or_the_caller_is_no_error_contract_36(
    database: Database,
) -> None:
    async with running(database) as proxy:
        proxy.acting.devices = {"workstation-01": Device(AID, "work\0station")}
        assert await proxy.execute() == EXECUTED
        with pytest.raises(RefusedByPolicyError):
            await proxy.execute(msgspec.structs.replace(LIFT, host="work\0station"))


async def test_execute_many_at_one_device_in_two_containers_never_overlap_contract_36(
    database: Database, soon: None
) -> None:
    at_once, most = 0, 0

    async def overlap() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    async with running(database) as one, running(database) as two:
        one.acting.acting = two.acting.acting = overlap
        tasks = [
            proxy.start(other(ISOLATION, f"{number}-{name}"))
            for number in range(8)
            for name, proxy in (("one", one), ("two", two))
        ]
        assert await asyncio.gather(*tasks) == [EXECUTED] * 16
    assert most == 1


class Site:
    """One device, and attempts on it. Each lease expires when the next attempt begins."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.now = NOW

    async def acquire(self, name: str, target: Target) -> DeviceLease:
        """Lease the device for the attempt `name`, which is also the hash of its entry."""
        self.now += 10
        request = LeaseRequest(
            TENANT, "crowdstrike", Device(AID), "r", name, name, target, self.now + 10, self.now
        )
        lift_any = msgspec.structs.replace(request, lift_any=True)
        [outcome] = await self._database.write(devices.acquire, [lift_any])
        lease = not_blocked(outcome.result)
        assert lease is not None
        return lease

    async def end(self, lease: DeviceLease, ended: Outcome, *, changed: bool = True) -> None:
        await self._database.write(devices.release, lease, ended, None, changed, self.now)

    async def due(self, name: str) -> confirmation._Due:
        mine = tables.confirmations.c.entry_hash == name
        rows = sa.select(*confirmation._COLUMNS).where(mine)
        return await self._database.read(lambda c: confirmation._Due(*c.execute(rows).one()))

    async def settle(self, due: confirmation._Due, found: Outcome) -> bool:
        [outcome] = await self._database.write(confirmation.settle, [_Settled(due, found, None)])
        return outcome.result

    async def check(self, name: str, found: Outcome) -> bool:
        """Check the action with the given outcome; return whether it is recorded."""
        return await self.settle(await self.due(name), found)

    async def fail(self, lease: DeviceLease) -> None:
        """Check the action of `lease` with the outcome `failed`."""
        await self._database.write(settlement.fail, lease.entry_hash)

    async def is_contained(self) -> bool:
        return await self._database.read(contained.is_host_contained, TENANT, "crowdstrike", AID)

    async def checked(self) -> list[str]:
        """Return the entries of the actions that are checked now."""
        query = sa.select(tables.confirmations.c.entry_hash).where(settlement.is_latest())
        query = query.order_by(tables.confirmations.c.entry_hash)
        return await self._database.read(lambda c: list(c.execute(query).scalars()))


@pytest.mark.parametrize("ended", ["confirmed", "requested", "outcome_unknown"])
async def test_late_failure_keeps_what_a_later_attempt_contained_contract_34(
    database: Database, ended: Outcome
) -> None:
    site = Site(database)
    late = await site.acquire("late", "contained")
    await site.end(await site.acquire("later", "contained"), ended)
    await site.end(late, "failed")
    assert await site.is_contained()


async def test_check_of_an_action_that_may_not_be_sent_ends_no_other_contract_37(
    database: Database,
) -> None:
    """It is unknown whether the second was sent. Then its attempt ends: it was not."""
    site = Site(database)
    first = await site.acquire("first", "contained")
    await site.end(first, "requested")
    second = await site.acquire("second", "contained")
    assert await site.check("second", "confirmed")
    assert await site.checked() == ["first"]
    assert await site.check("first", "confirmed")
    await site.end(second, "failed")
    assert await site.is_contained()


@pytest.mark.parametrize("found", ["confirmed", "outcome_unknown"])
async def test_check_that_finds_the_effect_of_an_earlier_action_keeps_that_contract_34(
    database: Database, found: Outcome
) -> None:
    site = Site(database)
    await site.end(await site.acquire("first", "contained"), "confirmed")
    second = await site.acquire("second", "contained")
    assert await site.check("second", found)
    await site.end(second, "failed")
    assert await site.is_contained()


async def test_late_failure_keeps_what_a_later_attempt_sent_before_it_died_contract_34(
    database: Database,
) -> None:
    site = Site(database)
    late = await site.acquire("late", "contained")
    await site.acquire("later", "contained")
    await site.end(late, "failed")
    assert await site.is_contained()
    assert await site.check("later", "confirmed")
    assert await site.is_contained()


async def test_check_of_an_earlier_lift_keeps_a_later_containment_contract_34(
    database: Database,
) -> None:
    """The vendor reports the lift itself as successful, although a containment followed."""
    site = Site(database)
    await site.end(await site.acquire("lift", "lifted"), "requested")
    await site.end(await site.acquire("later", "contained"), "requested")
    assert await site.check("later", "outcome_unknown")
    assert await site.check("lift", "confirmed")
    assert await site.is_contained()


async def test_second_end_of_a_lift_keeps_what_a_check_has_confirmed_meanwhile_contract_34(
    database: Database,
) -> None:
    site = Site(database)
    await site.end(await site.acquire("first", "contained"), "outcome_unknown")
    lift = await site.acquire("lift", "lifted")
    await site.end(lift, "confirmed", changed=False)
    assert await site.check("first", "confirmed")
    await site.end(lift, "confirmed", changed=False)
    assert await site.is_contained()


async def test_check_that_began_before_the_end_uses_what_the_end_stored_contract_34(
    database: Database,
) -> None:
    site = Site(database)
    lease = await site.acquire("first", "contained")
    due = await site.due("first")
    await site.end(lease, "requested", changed=False)
    assert await site.settle(due, "confirmed")
    assert not await site.is_contained()


@pytest.mark.parametrize("found", ["failed", "outcome_unknown"])
async def test_action_is_checked_again_when_a_later_one_was_not_confirmed_contract_37(
    database: Database, found: Outcome
) -> None:
    site = Site(database)
    await site.end(await site.acquire("first", "contained"), "requested")
    await site.end(await site.acquire("lift", "lifted"), "requested")
    assert await site.checked() == ["lift"]
    assert await site.check("lift", found)
    assert await site.checked() == ["first"]
    assert await site.is_contained()


async def test_action_is_checked_no_more_when_a_later_one_was_confirmed_contract_37(
    database: Database,
) -> None:
    site = Site(database)
    await site.end(await site.acquire("first", "contained"), "requested")
    await site.end(await site.acquire("lift", "lifted"), "requested")
    assert await site.check("lift", "confirmed")
    assert await site.checked() == []
    assert not await site.is_contained()


async def test_end_of_an_attempt_that_sent_nothing_does_not_end_the_earlier_checks(
    database: Database,
) -> None:
    """The first action was in progress. Its outcome is still unknown."""
    site = Site(database)
    first = await site.acquire("first", "contained")
    await site.end(first, "requested")
    second = await site.acquire("second", "contained")
    await site.end(second, "requested", changed=False)
    assert await site.checked() == ["second"]
    await site.fail(second)
    assert await site.checked() == ["first"]
    await site.fail(first)
    assert not await site.is_contained()


@pytest.mark.parametrize("pending", [True, False])
async def test_end_of_a_lift_that_sent_nothing_keeps_a_containment_that_is_pending(
    database: Database, pending: bool
) -> None:
    site = Site(database)
    await site.end(
        await site.acquire("first", "contained"), "requested" if pending else "confirmed"
    )
    await site.end(await site.acquire("lift", "lifted"), "confirmed", changed=False)
    assert await site.checked() == ["first"] * pending
    assert await site.is_contained() == pending


@pytest.mark.parametrize("ended", ["requested", "outcome_unknown"])
@pytest.mark.parametrize("again", ["confirmed", "requested", "outcome_unknown"])
async def test_second_end_does_not_bring_back_what_was_settled_meanwhile_contract_34(
    database: Database, ended: Outcome, again: Outcome
) -> None:
    """Its first commit was not seen, and the action was checked before the second."""
    site = Site(database)
    lease = await site.acquire("first", "contained")
    await site.end(lease, ended)
    await site.fail(lease)
    await site.end(lease, again)
    assert not await site.is_contained()


async def test_containments_that_both_failed_leave_nothing_to_lift_contract_34(
    database: Database,
) -> None:
    """The earlier action is checked again when the later has failed: both were sent."""
    site = Site(database)
    first = await site.acquire("first", "contained")
    await site.end(first, "requested")
    second = await site.acquire("second", "contained")
    await site.end(second, "requested")
    assert await site.checked() == ["second"]
    await site.fail(second)
    assert await site.checked() == ["first"]
    assert await site.is_contained()
    await site.fail(first)
    assert not await site.is_contained()


@pytest.mark.parametrize("ended", ["requested", "outcome_unknown"])
async def test_late_end_of_a_lift_is_checked_if_no_later_action_is_pending(
    database: Database, ended: Outcome
) -> None:
    site = Site(database)
    await site.end(await site.acquire("contained", "contained"), "confirmed")
    late = await site.acquire("late", "lifted")
    await site.end(await site.acquire("killed", "killed"), "confirmed")
    await site.end(late, ended)
    assert await site.is_contained()  # it may be
    assert await site.checked() == ["late"]


async def test_late_confirmation_of_a_lift_lifts_contract_34(
    database: Database,
) -> None:
    site = Site(database)
    await site.end(await site.acquire("contained", "contained"), "confirmed")
    late = await site.acquire("late", "lifted")
    await site.end(await site.acquire("killed", "killed"), "confirmed")
    await site.end(late, "confirmed")
    assert not await site.is_contained()
    assert await site.checked() == []


@pytest.mark.parametrize("found", ["confirmed", "outcome_unknown", None])
async def test_late_confirmation_of_a_lift_keeps_a_later_containment_contract_34(
    database: Database, found: Outcome | None
) -> None:
    """Whether it is still checked or not."""
    site = Site(database)
    late = await site.acquire("late", "lifted")
    await site.end(await site.acquire("later", "contained"), "requested")
    if found:
        assert await site.check("later", found)
    await site.end(late, "confirmed")
    assert await site.is_contained()


async def test_lease_after_the_clock_went_back_is_the_later_one_contract_37(
    database: Database,
) -> None:
    site = Site(database)
    await site.end(await site.acquire("lifted", "lifted"), "requested")
    site.now -= 1000
    contained = await site.acquire("contained", "contained")
    assert await site.checked() == ["contained"]
    await site.end(contained, "requested")
    assert await site.checked() == ["contained"]


async def test_late_end_supersedes_the_earlier_actions(database: Database) -> None:
    site = Site(database)
    await site.end(await site.acquire("lifted", "lifted"), "requested")
    late = await site.acquire("late", "contained")
    await site.end(await site.acquire("killed", "killed"), "confirmed")
    await site.end(late, "confirmed")
    assert await site.checked() == []


@pytest.mark.parametrize("ended", ["requested", "outcome_unknown"])
async def test_late_end_does_not_become_the_later_action_contract_37(
    database: Database, ended: Outcome
) -> None:
    site = Site(database)
    late = await site.acquire("late", "lifted")
    later = await site.acquire("later", "contained")
    await site.end(late, ended)
    assert await site.checked() == ["later"]
    await site.end(later, "failed")
    assert await site.checked() == ["late"]


async def test_end_of_a_kill_that_comes_too_late_is_checked_from_then_on_contract_37(
    database: Database,
) -> None:
    site = Site(database)
    late = await site.acquire("late", "killed")
    await site.acquire("later", "contained")
    await site.end(late, "requested")
    assert await site.checked() == ["late", "later"]
    next_at = sa.select(tables.confirmations.c.next_at).where(
        tables.confirmations.c.entry_hash == "late"
    )
    assert await database.read(lambda c: c.execute(next_at).scalar()) == NOW + 20 + CONFIRM_FIRST_S


async def test_late_end_of_a_lift_undoes_no_later_containment_contract_36(
    database: Database,
) -> None:
    def acquire(
        connection: Connection, owner: str, target: Target, now: float
    ) -> DeviceLease | None:
        wanted = LeaseRequest(
            TENANT, "crowdstrike", Device(AID), "r", owner, owner, target, now + 10, now, True
        )
        return not_blocked(devices.acquire(connection, [wanted])[0].result)

    def end(connection: Connection, lease: DeviceLease) -> None:
        devices.release(connection, lease, "confirmed", None, True, NOW)

    def is_contained(connection: Connection) -> bool:
        return contained.is_host_contained(connection, TENANT, "crowdstrike", AID)

    late = await database.write(acquire, "late", "lifted", NOW)
    later = await database.write(acquire, "later", "contained", NOW + 10)
    assert late is not None
    assert later is not None
    await database.write(end, later)
    await database.write(end, late)
    assert await database.read(is_contained)
