"""What witnesses have co-signed, in SQL (contract 95)."""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.nodes import Chain
from vyrox.chain.notes import Note, read_note
from vyrox.store.rows import insert_rows
from vyrox.store.tables import audit_cosignatures

_c: Final = audit_cosignatures.c

_NEWER: Final = (
    "ON CONFLICT (tenant_id, stream, witness) DO UPDATE SET size = excluded.size, "
    "note = excluded.note, at = excluded.at WHERE excluded.size >= audit_cosignatures.size"
)


def read_cosigned(connection: Connection, chain: Chain) -> list[Note]:
    """Return the checkpoints that were co-signed last, the largest first.

    Those of one size are one note with all their signatures.
    """
    query = sa.select(_c.note).where(_c.tenant_id == chain[0], _c.stream == chain[1])
    merged: dict[str, Note] = {}
    for encoded in connection.execute(query.order_by(_c.size.desc(), _c.witness)).scalars():
        note = read_note(encoded)
        merged[note.text] = _merged(merged.get(note.text, note), note)
    return list(merged.values())


def add_cosignatures(connection: Connection, chain: Chain, note: Note) -> Note:
    """Return `note` with the co-signatures of exactly this checkpoint."""
    same = [each for each in read_cosigned(connection, chain) if each.text == note.text]
    return _merged(note, same[0]) if same else note


def store_cosigned(
    connection: Connection, chain: Chain, witness: str, size: int, note: Note, now: float
) -> None:
    """Store what a witness has co-signed, unless a larger checkpoint is stored."""
    insert_rows(
        connection, audit_cosignatures, [(*chain, witness, size, note.encode(), now)], _NEWER
    )


def cosigned_size(connection: Connection, chain: Chain, witness: str) -> int:
    """Return the size of the newest checkpoint that the witness has co-signed, or 0."""
    query = sa.select(_c.size).where(
        _c.tenant_id == chain[0], _c.stream == chain[1], _c.witness == witness
    )
    return connection.execute(query).scalar() or 0


def _merged(note: Note, other: Note) -> Note:
    more = [each for each in other.signatures if each not in note.signatures]
    return msgspec.structs.replace(note, signatures=(*note.signatures, *more))
