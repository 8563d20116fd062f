"""One statement asks for all background tasks what is due (contract 92)."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from vyrox.errors import DatabaseUnavailableError
from vyrox.store.agenda import NOW, Agenda
from vyrox.store.database import Database, open_database
from vyrox.store.tables import heartbeat


def agenda_of(database: Database, now: float) -> tuple[Agenda, dict[str, asyncio.Event]]:
    conditions = {
        "due": sa.exists().where(heartbeat.c.at <= NOW),
        "not due": sa.exists().where(heartbeat.c.at > NOW + 10.0),
        "asked for": sa.or_(sa.literal(False), sa.bindparam("wanted", type_=sa.Boolean)),
    }
    events = {name: asyncio.Event() for name in conditions}
    parameters = {"now": now, "wanted": True}
    asked = {name: (each, events[name]) for name, each in conditions.items()}
    return Agenda(database, lambda: parameters, asked), events


async def test_look_wakes_who_has_work_contract_92(database: Database) -> None:
    agenda, events = agenda_of(database, 100.0)
    await agenda.look()
    assert {name for name, event in events.items() if event.is_set()} == {"due", "asked for"}


async def test_look_wakes_all_where_it_cannot_ask_contract_92(data_dir: Path) -> None:
    """Each then searches by itself, and logs what is wrong."""
    async with open_database(None, data_dir) as database:
        agenda, events = agenda_of(database, 100.0)

        async def fail(*_: object) -> None:
            raise DatabaseUnavailableError("away")

        database.read = fail  # type: ignore[method-assign, assignment]
        with pytest.raises(DatabaseUnavailableError):
            await agenda.look()
    assert all(event.is_set() for event in events.values())
