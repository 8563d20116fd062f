"""On SQLite, an urgent command writes before a service does (contract 39)."""

import asyncio
import fcntl
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.heartbeat import write_beat
from vyrox.store import precedence
from vyrox.store.database import open_database
from vyrox.store.precedence import PRECEDENCE_FILE
from vyrox.store.tables import heartbeat


def beat(connection: Connection) -> float:
    return float(connection.execute(sa.select(heartbeat.c.at)).scalar_one())


async def test_transaction_waits_for_an_urgent_one_contract_39(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the thread that writes waits; the event loop continues."""
    waits = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with open_database(None, data_dir) as database:
        await database.write(write_beat, 1.0)
        with (data_dir / PRECEDENCE_FILE).open("r+") as urgent:
            fcntl.flock(urgent, fcntl.LOCK_EX)
            monkeypatch.setattr(precedence, "WAIT_FOR_URGENT_S", 60.0)
            monkeypatch.setattr(
                "vyrox.store.precedence.time.sleep", lambda _s: loop.call_soon_threadsafe(waits.set)
            )
            writing = asyncio.create_task(database.write(write_beat, 2.0))
            async with asyncio.timeout(10):
                await waits.wait()
            assert await database.read(beat) == 1.0
        await writing
        assert await database.read(beat) == 2.0


async def test_urgent_command_that_hangs_is_waited_for_once_contract_39(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precedence, "WAIT_FOR_URGENT_S", 0.01)
    async with open_database(None, data_dir) as database:
        await database.write(write_beat, 1.0)
        with (data_dir / PRECEDENCE_FILE).open("r+") as hangs:
            fcntl.flock(hangs, fcntl.LOCK_EX)
            await database.write(write_beat, 2.0)
            # From here on, a second wait would never end.
            monkeypatch.setattr(precedence, "WAIT_FOR_URGENT_S", 1e9)
            await database.write(write_beat, 3.0)
        assert await database.read(beat) == 3.0


async def test_urgent_transaction_has_precedence_contract_39(data_dir: Path) -> None:
    def is_taken(_connection: Connection | None) -> bool:
        with (data_dir / PRECEDENCE_FILE).open("r+") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    async with open_database(None, data_dir) as database:
        assert not await database.write(is_taken)
        async with open_database(None, data_dir, urgent=True) as urgent:
            assert await urgent.write(is_taken)
            assert not is_taken(None)
