"""Checks at the vendor of actions that were sent (contract 37)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import NOW, TENANT
from tests.containment.test_devices import LIFT, other
from tests.containment.test_execution import (
    EXECUTED,
    ISOLATION,
    LEASE_S,
    Proxy,
    hashes,
    outcomes,
    running,
)
from tests.vendor import clients_of, give_credentials, take_credentials
from vyrox import log
from vyrox.containment import claims
from vyrox.containment.confirmation import BACK_OFF_S, CHECK_LEASE_S, Confirmation
from vyrox.containment.devices import CONFIRM_FIRST_S, CONFIRM_FOR_S
from vyrox.edr.client import ActionResult
from vyrox.errors import RefusedByPolicyError, VendorError, VendorOutcomeUnknownError
from vyrox.models import ContainmentRequest
from vyrox.store import tables
from vyrox.store.database import Database

REQUESTED = ActionResult(confirmed=False, reference="action-7")


@asynccontextmanager
async def confirming(database: Database) -> AsyncIterator[tuple[Proxy, Confirmation]]:
    """A vendor that accepts actions, and the confirmation that checks them."""
    async with running(database) as proxy:
        proxy.acting.answer = REQUESTED
        clients = clients_of(proxy.acting)
        yield proxy, Confirmation(proxy.database, proxy.writer, clients, proxy.clock)


def pending(connection: Connection) -> list[str]:
    c = tables.confirmations.c
    return list(connection.execute(sa.select(c.entry_hash).where(~c.is_settled)).scalars())


def next_check(connection: Connection) -> float | None:
    """Return when the next check is due, or None if no action is pending."""
    c = tables.confirmations.c
    return connection.execute(sa.select(sa.func.min(c.next_at)).where(~c.is_settled)).scalar()


async def test_run_confirms_what_the_vendor_reports_contract_37(database: Database) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        await confirmation.run()
        assert proxy.acting.looks == []  # no check is due
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.progress = "reached"
        await confirmation.run()
        await confirmation.run()
        assert proxy.acting.looks == [("workstation-01", "contained", "action-7")]
        [entry] = await hashes(database)
        assert await outcomes(database) == [(entry, "requested"), (entry, "confirmed")]
        assert await database.read(pending) == []
        assert await proxy.execute(LIFT) == EXECUTED


async def test_run_records_a_failure_and_the_host_cannot_be_lifted_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.progress = "failed"
        await confirmation.run()
        [entry] = await hashes(database)
        assert await outcomes(database) == [(entry, "requested"), (entry, "failed")]
        with pytest.raises(RefusedByPolicyError):
            await proxy.execute(LIFT)


@pytest.mark.parametrize(
    "progress", ["pending", VendorError("away"), TimeoutError(), LookupError("a mistake")]
)
async def test_run_backs_off_and_ends_as_unknown_after_15_minutes_contract_37(
    database: Database, progress: object
) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        proxy.acting.progress = progress  # type: ignore[assignment]
        while (due_at := await database.read(next_check)) is not None:
            assert due_at > proxy.clock.now
            proxy.clock.now = due_at
            await confirmation.run()
        assert proxy.clock.now - NOW == CONFIRM_FOR_S
        checks = len(proxy.acting.looks)
        assert len(BACK_OFF_S) < checks < 30
        [entry] = await hashes(database)
        assert await outcomes(database) == [(entry, "requested"), (entry, "outcome_unknown")]
        # The host may be contained anyway, so it can be lifted.
        proxy.acting.progress = "pending"
        assert await proxy.execute(LIFT) == EXECUTED


async def test_run_checks_an_action_whose_response_was_lost_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        proxy.acting.failure = VendorOutcomeUnknownError("reset after it was sent")
        with pytest.raises(VendorOutcomeUnknownError):
            await proxy.execute()
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.progress = "reached"
        await confirmation.run()
        [entry] = await hashes(database)
        assert await outcomes(database) == [(entry, "outcome_unknown"), (entry, "confirmed")]


async def test_run_does_not_check_what_was_confirmed_or_failed_immediately_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        proxy.acting.answer = ActionResult(confirmed=True)
        assert await proxy.execute() == EXECUTED
        proxy.acting.failure = VendorError("refused")
        with pytest.raises(VendorError):
            await proxy.execute(LIFT)
        proxy.clock.now += CONFIRM_FOR_S
        await confirmation.run()
        assert proxy.acting.looks == []


async def test_run_after_a_crash_checks_what_was_not_recorded_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        proxy.acting.gate.clear()
        crashed = proxy.start()
        await proxy.acting.began.wait()
        proxy.database.always = "before"  # it can never record the result
        proxy.acting.gate.set()
        assert await crashed == EXECUTED
        await proxy.containment.drain()
        proxy.database.always = None
        proxy.acting.progress = "reached"
        await confirmation.run()
        assert proxy.acting.looks == []  # its lease has not expired
        proxy.clock.now += LEASE_S
        await proxy.writer.commit(claims.mark_lapsed_unknown, proxy.clock())
        await confirmation.run()
        [entry] = await hashes(database)
        assert await outcomes(database) == [(entry, "outcome_unknown"), (entry, "confirmed")]


async def test_run_of_two_containers_records_it_once_contract_37(database: Database) -> None:
    async with confirming(database) as (proxy, confirmation):
        other = Confirmation(database, proxy.writer, clients_of(proxy.acting), proxy.clock)
        for number in range(10):
            host = f"host-{number}"
            request = msgspec.structs.replace(ISOLATION, request_id=host, host=host)
            assert await proxy.execute(request) == EXECUTED
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.progress = "reached"
        await asyncio.gather(confirmation.run(), other.run())
        assert len(proxy.acting.looks) == 10
    recorded = [outcome for _, outcome in await outcomes(database)]
    assert recorded == ["requested"] * 10 + ["confirmed"] * 10


async def test_run_after_a_later_action_does_not_judge_the_earlier_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        assert await proxy.execute(LIFT) == EXECUTED
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.progress = "reached"
        await confirmation.run()
        assert [target for _, target, _ in proxy.acting.looks] == ["lifted"]
        contained, lifted = await hashes(database)
        assert await outcomes(database) == [
            (contained, "requested"),
            (lifted, "requested"),
            (lifted, "confirmed"),
        ]


@pytest.mark.parametrize("earlier", [ISOLATION, LIFT])
async def test_run_after_a_later_action_that_failed_checks_the_earlier_again_contract_37(
    database: Database, earlier: ContainmentRequest
) -> None:
    async with confirming(database) as (proxy, confirmation):
        if earlier is LIFT:
            proxy.acting.answer = ActionResult(confirmed=True)
            assert await proxy.execute() == EXECUTED
            proxy.acting.answer = REQUESTED
        assert await proxy.execute(earlier) == EXECUTED
        proxy.acting.failure = VendorError("refused")
        with pytest.raises(VendorError):
            await proxy.execute(other(ISOLATION, "later"))
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.progress = "reached"
        await confirmation.run()
        *_, entry, _ = await hashes(database)
        assert (await outcomes(database))[-1] == (entry, "confirmed")
        assert await database.read(pending) == []
        # Vyrox can lift only what it has contained.
        proxy.acting.failure = None
        lift = other(LIFT, "lift-2")
        if earlier is LIFT:
            with pytest.raises(RefusedByPolicyError):
                await proxy.execute(lift)
        else:
            assert await proxy.execute(lift) == EXECUTED


async def test_run_while_a_later_action_is_in_progress_judges_neither_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.began.clear()
        proxy.acting.gate.clear()
        lifting = proxy.start(LIFT)
        await proxy.acting.began.wait()
        proxy.acting.progress = "failed"  # the lift has already taken effect
        await confirmation.run()
        assert proxy.acting.looks == []
        proxy.acting.gate.set()
        assert await lifting == EXECUTED


async def test_run_that_began_before_a_later_action_records_nothing_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        proxy.clock.now += CONFIRM_FIRST_S
        logged = log.counts["execute.failed"]
        proxy.acting.progress = "failed"
        proxy.acting.read.clear()
        running = asyncio.create_task(confirmation.run())
        await proxy.acting.looked.wait()
        proxy.acting.gate.clear()
        proxy.acting.began.clear()
        again = proxy.start(other(ISOLATION, "again"))
        await proxy.acting.began.wait()
        proxy.acting.read.set()
        await running
        proxy.acting.answer = ActionResult(confirmed=True)
        proxy.acting.gate.set()
        assert await again == EXECUTED
        first, second = await hashes(database)
        assert await outcomes(database) == [(first, "requested"), (second, "confirmed")]
        assert log.counts["execute.failed"] == logged
        assert await proxy.execute(LIFT) == EXECUTED  # Vyrox has contained it


async def test_run_after_two_crashes_records_both_contract_37(database: Database) -> None:
    """Either may have been sent; the host is in the target state of both."""
    async with confirming(database) as (proxy, confirmation):
        for request in (ISOLATION, other(ISOLATION, "later")):
            proxy.acting.gate.clear()
            proxy.acting.began.clear()
            crashed = proxy.start(request)
            await proxy.acting.began.wait()
            proxy.database.always = "before"
            proxy.acting.gate.set()
            assert await crashed == EXECUTED
            await proxy.containment.drain()
            proxy.database.always = None
            proxy.clock.now += LEASE_S
        proxy.acting.progress = "reached"
        await confirmation.run()
        await confirmation.run()
        assert len(proxy.acting.looks) == 2
        earlier, later = await hashes(database)
        assert await outcomes(database) == [(later, "confirmed"), (earlier, "confirmed")]
        assert await database.read(pending) == []


async def test_run_goes_on_after_the_database_was_away_contract_37(database: Database) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        proxy.clock.now += CONFIRM_FIRST_S
        proxy.acting.progress = "reached"
        proxy.database.faults = {proxy.database.writes + 2: "before"}
        with pytest.raises(Exception, match="away"):
            await confirmation.run()
        proxy.clock.now += CHECK_LEASE_S
        await confirmation.run()
        assert [outcome for _, outcome in await outcomes(database)] == ["requested", "confirmed"]


async def test_run_without_credentials_is_unknown_in_the_end_contract_37(
    database: Database,
) -> None:
    async with confirming(database) as (proxy, confirmation):
        assert await proxy.execute() == EXECUTED
        await take_credentials(database, TENANT)
        proxy.clock.now += CONFIRM_FOR_S + 1
        await confirmation.run()
        assert [outcome for _, outcome in await outcomes(database)] == [
            "requested",
            "outcome_unknown",
        ]
        await give_credentials(database, [TENANT])
