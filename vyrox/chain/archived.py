"""What the database still has of events that are in an archive (contract 103).

Of every one its hash, so that checkpoints and proofs are made as before; and the whole entry, if it
says who may decide, who decided, or what was done on a device. The rest is in the archive alone.

Archives end at a multiple of BLOCK, where a block of hashes ends too.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.tree import HASH_BYTES
from vyrox.store.tables import archived_hashes, audit_archives, audit_log

BLOCK: Final = 256
"""Hashes in a row of `archived_hashes`, and what the size of each archive is a multiple of."""

KIND: Final = "chain.archived"

REMOVED_FAMILIES: Final = (
    "alert",
    "auth",
    "graph",
    "incident",
    "notification",
    "notify",
    "poller",
    "signal",
    "suppression",
)
"""Kinds of events that are removed: those of these families, and REMOVED_KIND. The same list is in
the triggers of `audit_log`. A kind that is not in it stays."""

REMOVED_KIND: Final = "audit.exported"

_log: Final = audit_log.c
_done: Final = audit_archives.c
_hashes: Final = archived_hashes.c
_NEXT: Final = audit_log.alias()
_next: Final = _NEXT.c

IS_REMOVED: Final = sa.or_(
    _log.kind == REMOVED_KIND, *(_log.kind.startswith(f"{name}.") for name in REMOVED_FAMILIES)
)
"""Of a row of `audit_log`: whether it goes once it is in an archive."""


class Retained(msgspec.Struct, frozen=True):
    """An event in an archive that the database has too."""

    sequence: int
    kind: str
    timestamp: int
    hash: str
    entry: bytes


def is_removed(kind: str) -> bool:
    """Return whether an event of this kind is removed once it is in an archive."""
    return kind == REMOVED_KIND or kind.partition(".")[0] in REMOVED_FAMILIES


def archived_up_to(connection: Connection, tenant_id: str) -> int:
    """Return the number of the last event of a tenant that is in an archive; 0 without one."""
    query = sa.select(sa.func.max(_done.last)).where(_done.tenant_id == tenant_id)
    return max(0, connection.execute(query).scalar() or 0)


def list_archived(
    connection: Connection, tenant_id: str | None, since: float
) -> list[tuple[str, int]]:
    """Return the number of the last event in an archive, by the tenant.

    Args:
        tenant_id: None: all tenants, and SERVICE.
        since: Only archives that may have events since this time.
    """
    last = sa.select(_done.tenant_id, sa.func.max(_done.last).label("last"))
    of_each = last.group_by(_done.tenant_id).subquery()
    query = (
        sa.select(of_each.c.tenant_id, of_each.c.last)
        .join(
            _NEXT, (_next.tenant_id == of_each.c.tenant_id) & (_next.sequence == of_each.c.last + 1)
        )
        .where(_next.stream == "events", _next.timestamp >= since)
        .order_by(of_each.c.tenant_id)
    )
    if tenant_id is not None:
        query = query.where(of_each.c.tenant_id == tenant_id)
    return [(row[0], row[1]) for row in connection.execute(query)]


def read_archived_hashes(
    connection: Connection, tenant_id: str, start: int, end: int
) -> list[bytes]:
    """Return the hashes of the events after `start` to `end`, as far as they are stored."""
    first = start // BLOCK
    query = (
        sa.select(_hashes.position, _hashes.hashes)
        .where(_hashes.tenant_id == tenant_id, _hashes.position.between(first, (end - 1) // BLOCK))
        .order_by(_hashes.position)
    )
    found: list[bytes] = []
    for expected, (position, block) in enumerate(connection.execute(query), first):
        if position != expected or len(block) != BLOCK * HASH_BYTES:
            return []
        found += [block[at : at + HASH_BYTES] for at in range(0, len(block), HASH_BYTES)]
    return found[start - first * BLOCK : end - first * BLOCK]


def read_retained(
    connection: Connection, tenant_id: str, after: int, last: int, limit: int
) -> list[Retained]:
    """Return events after `after` to `last` that are not removed, in order."""
    query = (
        sa.select(_log.sequence, _log.kind, _log.timestamp, _log.hash, _log.entry)
        .where(
            _log.tenant_id == tenant_id,
            _log.stream == "events",
            _log.sequence > after,
            _log.sequence <= last,
            _log.kind != "alert.accepted",  # as the condition of an index
            ~IS_REMOVED,
        )
        .order_by(_log.sequence)
        .limit(limit)
    )
    return [Retained(*row) for row in connection.execute(query)]


class RetainedDigest:
    """What `chain.archived` says of the events that are retained: how many, and one hash of all."""

    def __init__(self) -> None:
        self.number = 0
        self._sha256 = hashlib.sha256()

    def add(self, sequence: int, entry_hash: str) -> None:
        """Add the next one."""
        self.number += 1
        self._sha256.update(f"{sequence} {entry_hash}\n".encode())

    def hexdigest(self) -> str:
        """Return the hash of all so far."""
        return self._sha256.hexdigest()


def retained_lines(retained: Sequence[Retained]) -> bytes:
    """Return them as the lines of `retained-events.txt`."""
    return b"".join(b"%d %b\n" % (each.sequence, each.entry) for each in retained)
