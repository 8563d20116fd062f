"""Leases that a wrong clock has written block nothing (contract 22, 37 and 40)."""

import pytest
import sqlalchemy as sa

from tests.audit import NOW, TENANT, events, running_writer
from tests.containment import test_claims
from tests.containment.test_claims import KILL, claimed, record, result_at
from tests.containment.test_confirmation import confirming, pending
from tests.containment.test_devices import other
from tests.containment.test_execution import EXECUTED, ISOLATION, hashes, outcomes, running
from tests.vendor import AID
from vyrox.containment import claims, devices
from vyrox.containment.admission import Claimed
from vyrox.containment.attempt import DeviceLease
from vyrox.containment.claims import RESULT_KEPT_S, InFlight, Replayed
from vyrox.containment.clock_guard import MAX_STEP_S
from vyrox.containment.devices import CONFIRM_FOR_S, LeaseRequest
from vyrox.containment.lease_limit import LONGEST_LEASE_S, MAX_AHEAD_S, is_over
from vyrox.containment.vendor_action import lease_s
from vyrox.errors import SettingsError
from vyrox.models import Device
from vyrox.settings import Settings
from vyrox.store.database import Database

AHEAD_S = 30 * 86_400.0
"""The first service started on a clock so far ahead."""


def test_no_lease_is_longer_than_the_longest_contract_40() -> None:
    settings = Settings.from_env({"EDR_DEADLINE_SECONDS": "300"})
    assert lease_s(settings.edr_deadline_s) == LONGEST_LEASE_S
    with pytest.raises(SettingsError, match="EDR_DEADLINE_SECONDS"):
        Settings.from_env({"EDR_DEADLINE_SECONDS": "301"})


@pytest.mark.parametrize(
    ("until", "over"),
    [
        (NOW, True),
        (NOW + 0.001, False),
        (NOW + LONGEST_LEASE_S + MAX_STEP_S, False),
        (NOW + MAX_AHEAD_S, False),
        (NOW + MAX_AHEAD_S + 0.001, True),
        (NOW + AHEAD_S, True),
    ],
)
async def test_lease_of_a_wrong_clock_is_over_contract_40(
    database: Database, until: float, over: bool
) -> None:
    def wanted(owner: str, lease_until: float) -> LeaseRequest:
        device = Device(AID)
        return LeaseRequest(
            TENANT, "crowdstrike", device, "r", owner, owner, "contained", lease_until, NOW
        )

    def acquire(connection: sa.Connection, request: LeaseRequest) -> object:
        return devices.acquire(connection, [request])[0].result

    assert is_over(until, NOW) is over
    assert isinstance(await database.write(acquire, wanted("first", until)), DeviceLease)
    second = await database.write(acquire, wanted("second", NOW + 10))
    assert isinstance(second, DeviceLease) is over


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_claim_of_a_wrong_clock_may_be_repeated_contract_22(
    database: Database, is_recorded: bool
) -> None:
    async with running_writer(database) as writer:
        _, entry_hash = await claimed(writer, now=NOW + AHEAD_S)
        if is_recorded:
            await writer.commit(claims.mark_lapsed_unknown, NOW)
        assert await result_at(writer, test_claims.REQUEST, NOW) == Claimed()
    recorded = test_claims.outcomes(await events(database))
    assert recorded == [(entry_hash, "outcome_unknown")]


async def test_kill_of_a_wrong_clock_is_refused_for_600_s_contract_22(database: Database) -> None:
    async with running_writer(database) as writer:
        await claimed(writer, KILL, now=NOW + AHEAD_S)
        assert await result_at(writer, KILL, NOW) == InFlight()
        assert (await writer.commit(claims.mark_lapsed_unknown, NOW)).result == 1
        assert await result_at(writer, KILL, NOW + RESULT_KEPT_S - 0.001) == InFlight()
        assert await result_at(writer, KILL, NOW + RESULT_KEPT_S) == Claimed()


async def test_result_of_a_wrong_clock_is_replayed_for_600_s_contract_22(
    database: Database,
) -> None:
    async with running_writer(database) as writer:
        done = await claimed(writer, now=NOW + AHEAD_S)
        await record(writer, done, "confirmed", now=NOW + AHEAD_S + 1)
        for now in (NOW, NOW + 1):  # the second time, nothing is left to shorten
            await writer.commit(claims.mark_lapsed_unknown, now)
        last = NOW + RESULT_KEPT_S
        assert await result_at(writer, test_claims.REQUEST, last - 0.001) == Replayed(False)
        await database.write(claims.delete_expired, last)
        assert await result_at(writer, test_claims.REQUEST, last) == Claimed()


async def test_action_of_a_wrong_clock_is_checked_for_15_minutes_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        proxy.clock.now += AHEAD_S
        assert await proxy.execute() == EXECUTED
        proxy.clock.now -= AHEAD_S
        proxy.acting.progress = "pending"
        await confirmation.run()
        assert len(proxy.acting.looks) == 1
        await confirmation.run()
        assert len(proxy.acting.looks) == 1  # the pauses are the usual ones again
        proxy.clock.now += CONFIRM_FOR_S
        await confirmation.run()
        [entry] = await hashes(database)
        assert await outcomes(database) == [(entry, "requested"), (entry, "outcome_unknown")]
        assert await database.read(pending) == []


async def test_device_of_a_wrong_clock_is_free_after_a_crash_contract_36(
    database: Database,
) -> None:
    async with running(database) as dead, running(database) as proxy:
        dead.clock.now += AHEAD_S
        dead.acting.gate.clear()
        first = dead.start()
        await dead.acting.began.wait()
        assert await proxy.execute(other(ISOLATION, "2")) == EXECUTED
        dead.acting.gate.set()
        await first
