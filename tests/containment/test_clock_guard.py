"""Clocks that jump, and when they are trusted again (contract 40)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.audit import NOW, Clock
from tests.conftest import ready_postgres_database
from tests.postgres import Postgres
from vyrox.containment.clock_guard import MAX_APART_S, MAX_STEP_S, ClockGuard
from vyrox.errors import UnavailableError, VendorError
from vyrox.http.replay_window import WINDOW_S
from vyrox.store.database import Database, open_database

LEASE_S = 72.0


@pytest.fixture
async def postgres_database(postgres: Postgres, data_dir: Path) -> AsyncIterator[Database]:
    async with open_database(await ready_postgres_database(postgres), data_dir) as opened:
        yield opened


class Clocks:
    """A guard, and its clocks, which the test sets."""

    def __init__(self, database: Database | None = None) -> None:
        self.wall = Clock(NOW)
        self.monotonic = Clock(1000.0)
        self.guard = ClockGuard(database, self.wall, self.monotonic, LEASE_S)
        if database is None:
            self.guard.check()

    def pass_s(self, seconds: float) -> None:
        self.wall.now += seconds
        self.monotonic.now += seconds

    def is_trusted(self) -> bool:
        try:
            self.guard.check()
        except UnavailableError:
            return False
        return True


@pytest.mark.parametrize("jump_s", [90.0, 700.0, 30 * 86_400.0, -700.0, MAX_STEP_S + 0.1])
def test_check_refuses_from_a_jump_until_the_longest_lease_is_over_contract_40(
    jump_s: float,
) -> None:
    clocks = Clocks()
    clocks.pass_s(3600)
    clocks.wall.now += jump_s
    assert not clocks.is_trusted()
    clocks.pass_s(LEASE_S - 0.1)
    assert not clocks.is_trusted()
    clocks.pass_s(0.1)
    assert clocks.is_trusted()
    assert clocks.guard.lease_time() == pytest.approx(clocks.wall(), abs=0.001)


def test_check_trusts_a_clock_that_is_back_where_it_was_at_once_contract_40() -> None:
    clocks = Clocks()
    clocks.wall.now += 700
    assert not clocks.is_trusted()
    clocks.pass_s(7)
    clocks.wall.now -= 700
    assert clocks.is_trusted()


def test_check_waits_again_after_another_jump_contract_40() -> None:
    clocks = Clocks()
    for jump_s in (90.0, 700.0, -3600.0):
        clocks.wall.now += jump_s
        assert not clocks.is_trusted()
        clocks.pass_s(LEASE_S - 1)
        assert not clocks.is_trusted()
    clocks.pass_s(1)
    assert clocks.is_trusted()


def test_check_follows_a_clock_that_is_corrected_slowly_contract_40() -> None:
    clocks = Clocks()
    for _ in range(1000):
        clocks.pass_s(1)
        clocks.wall.now += 0.08
        assert clocks.is_trusted()
    assert clocks.guard.lease_time() == pytest.approx(clocks.wall(), abs=0.001)


def test_lease_time_goes_on_evenly_through_a_jump_contract_40() -> None:
    clocks = Clocks()
    for jump_s in (700.0, -700.0, -90.0):
        clocks.wall.now += jump_s
        clocks.is_trusted()
        clocks.pass_s(1)
    assert clocks.guard.lease_time() == pytest.approx(NOW + 3, abs=0.001)


def test_check_action_allows_a_call_until_its_lease_expires_contract_40() -> None:
    clocks = Clocks()
    clocks.pass_s(LEASE_S - 0.1)
    clocks.guard.check_action(NOW, NOW + LEASE_S)
    clocks.pass_s(0.1)
    with pytest.raises(VendorError, match=r"lease .* nothing was sent"):
        clocks.guard.check_action(NOW, NOW + LEASE_S)


def test_check_action_after_a_suspend_sends_nothing_contract_40() -> None:
    """The monotonic clock has stopped during the suspend; the wall clock is right."""
    clocks = Clocks()
    clocks.wall.now += LEASE_S
    with pytest.raises(VendorError, match=r"lease .* nothing was sent"):
        clocks.guard.check_action(NOW, NOW + LEASE_S)
    clocks.wall.now += WINDOW_S + 0.1
    with pytest.raises(VendorError, match=r"approval .* nothing was sent"):
        clocks.guard.check_action(NOW, NOW + 10_000)


async def test_database_is_the_clock_of_leases_on_postgresql_contract_40(
    postgres_database: Database,
) -> None:
    """Two containers whose clocks differ by 90 s agree on when a lease is over."""
    right, ahead = Clocks(postgres_database), Clocks(postgres_database)
    right.wall.now = ahead.monotonic.now = await read_time(postgres_database)
    ahead.wall.now = right.wall.now + 90
    for clocks in (right, ahead):
        await clocks.guard.probe()
        assert clocks.is_trusted()
        assert clocks.guard.lease_time() - right.wall.now == pytest.approx(0, abs=60)
    # A jump of its wall clock does not change the lease time.
    before = ahead.guard.lease_time()
    ahead.wall.now += 700
    assert not ahead.is_trusted()
    assert ahead.guard.lease_time() == before


@pytest.mark.parametrize("apart_s", [MAX_APART_S + 60, -MAX_APART_S - 60])
async def test_check_refuses_while_the_wall_clock_is_not_the_databases_contract_40(
    postgres_database: Database, apart_s: float
) -> None:
    clocks = Clocks(postgres_database)
    clocks.wall.now = await read_time(postgres_database) + apart_s
    await clocks.guard.probe()
    with pytest.raises(UnavailableError, match="ahead of the database's"):
        clocks.guard.check()
    # The clock is corrected, and is trusted again without an operator.
    clocks.wall.now -= apart_s
    clocks.is_trusted()
    clocks.pass_s(LEASE_S)
    clocks.wall.now = await read_time(postgres_database) + LEASE_S
    assert clocks.is_trusted()


async def read_time(database: Database) -> float:
    """Return the time of the database's clock."""

    def read(connection: Connection) -> float:
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM now())").scalar_one())

    return await database.read(read)
