"""Lists of a tenant's entries and events, the newest first, for people (contract 80).

Within a chain, the times never decrease, so a time is found by halving the range of sequence
numbers. Entries of the two chains are put in order by their times.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Scalar, Stream
from vyrox.store.containing import contains
from vyrox.store.tables import audit_log

ACCEPTED: Final = "alert.accepted"
"""The kind of nearly all events: they are listed only if they are asked for."""

MAX_SEARCHED: Final = 5_000
"""Entries of one chain that one list reads at most."""

STREAMS: Final[tuple[Stream, ...]] = ("actions", "events")

IS_DEED: Final = sa.text("kind <> 'alert.accepted'")
"""Literally the condition of the index `audit_log_deeds`, so that both databases use it."""

END: Final = 2**62
"""Above every sequence number."""

_c: Final = audit_log.c
_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])

Place = Mapping[Stream, int]
"""Of each chain, the sequence number below which a list goes on."""


class Found(msgspec.Struct, frozen=True):
    """One entry or event.

    Attributes:
        members: Empty if somebody has changed the entry, so that it cannot be read.
    """

    tenant_id: str
    stream: Stream
    sequence: int
    kind: str
    timestamp: int
    hash: str
    entry: bytes

    @property
    def members(self) -> dict[str, Scalar]:
        """What the entry says."""
        try:
            return _decoder.decode(self.entry)
        except ValueError:
            return {}


class Asked(msgspec.Struct, frozen=True):
    """Which entries are wanted. Times are Unix seconds; `until` is not included.

    Attributes:
        text: The exact value of any member, such as a host, a person or an id; also in the text of
            a proposal, or of a statement about one.
        also: Values that are as good as `text` in an action: the ids of a host of that name.
        names: Only events that name this tenant as their `resolved_tenant` (contract 47).
    """

    tenant_id: str
    stream: Stream | None = None
    kind: str | None = None
    since: float | None = None
    until: float | None = None
    text: str | None = None
    names: str | None = None
    also: tuple[str, ...] = ()

    def parts(self, stream: Stream) -> list[list[bytes]]:
        """What the bytes of an entry of a stream must have: of each list one.

        Within a text, a quotation mark has a backslash before it, so no text has these bytes; but
        a member that is JSON itself has them with that backslash.
        """
        found = []
        if self.text is not None:
            own = msgspec.json.encode(self.text)
            # Only events hold a text, and only actions no name. Each value costs time.
            nested = msgspec.json.encode(own.decode())[1:-1]
            ids = [msgspec.json.encode(each) for each in self.also]
            others = ids if stream == "actions" else [nested]
            found.append([b":" + each for each in (own, *others)])
        if self.names is not None:
            found.append([b'"resolved_tenant":' + msgspec.json.encode(self.names)])
        return found


class Listed(msgspec.Struct, frozen=True):
    """Some entries, the newest first.

    Attributes:
        older: Where the list goes on, or None at its end.
        is_cut: Older entries were not searched, and may match.
    """

    entries: list[Found]
    older: Place | None
    is_cut: bool


class _Part(msgspec.Struct, frozen=True):
    """What was found in one chain. If it was cut, below `cut` nothing was searched."""

    entries: list[Found]
    cut: Found | None


def list_entries(connection: Connection, asked: Asked, place: Place | None, limit: int) -> Listed:
    """Return at most `limit` entries from `place` on."""
    streams = STREAMS if asked.stream is None else (asked.stream,)
    tops = {
        each: min(END if place is None else place.get(each, END), _end(connection, asked, each))
        for each in streams
    }
    found = {each: _read(connection, asked, each, tops[each], limit + 1) for each in streams}
    cuts = [part.cut for part in found.values() if part.cut is not None]
    # Older than this, entries of a chain that was cut may be missing in between.
    horizon = max((_order(each) for each in cuts), default=None)
    merged = sorted((e for part in found.values() for e in part.entries), key=_order, reverse=True)
    shown = [e for e in merged if horizon is None or _order(e) >= horizon][:limit]
    if len(shown) == len(merged) and not cuts:
        return Listed(shown, None, is_cut=False)
    is_cut = len(shown) < limit
    older = {each: _lowest(each, shown, tops[each]) for each in streams}
    for each in cuts:
        if is_cut and _order(each) == horizon:
            older[each.stream] = each.sequence
    return Listed(shown, older, is_cut=is_cut)


def find_entry(
    connection: Connection, tenant_id: str, stream: Stream, sequence: int
) -> Found | None:
    """Return one entry."""
    query = _select().where(_c.tenant_id == tenant_id, _c.stream == stream, _c.sequence == sequence)
    row = connection.execute(query).first()
    return None if row is None else Found(*row)


def _lowest(stream: Stream, shown: list[Found], top: int) -> int:
    return min((each.sequence for each in shown if each.stream == stream), default=top)


def _order(found: Found) -> tuple[int, str, int]:
    return (found.timestamp, found.stream, found.sequence)


def _read(connection: Connection, asked: Asked, stream: Stream, top: int, limit: int) -> _Part:
    searched = _searched(asked, stream, top)
    if asked.kind is None and not asked.parts(stream):
        query = searched.limit(limit)
        return _Part(_within(asked, connection.execute(query)), None)
    some = searched.limit(MAX_SEARCHED).subquery()
    query = sa.select(some).order_by(some.c.sequence.desc()).limit(limit)
    if asked.kind is not None:
        query = query.where(some.c.kind == asked.kind)
    for parts in asked.parts(stream):
        query = query.where(sa.or_(*(contains(connection, some.c.entry, part) for part in parts)))
    found = _within(asked, connection.execute(query))
    if len(found) == limit:
        return _Part(found, None)
    last = connection.execute(searched.offset(MAX_SEARCHED - 1).limit(1)).first()
    cut = None if last is None else Found(*last)
    is_over = cut is not None and asked.since is not None and cut.timestamp < asked.since
    return _Part(found, None if is_over else cut)


def _searched(asked: Asked, stream: Stream, top: int) -> sa.Select[Any]:
    query = _select().where(_c.tenant_id == asked.tenant_id, _c.stream == stream, _c.sequence < top)
    if asked.kind != ACCEPTED:
        query = query.where(IS_DEED)
    return query.order_by(_c.sequence.desc())


def _within(asked: Asked, rows: Iterable[Sequence[Any]]) -> list[Found]:
    found = [Found(*row) for row in rows]
    return [each for each in found if asked.since is None or each.timestamp >= asked.since]


def _select() -> sa.Select[Any]:
    return sa.select(_c.tenant_id, _c.stream, _c.sequence, _c.kind, _c.timestamp, _c.hash, _c.entry)


def _end(connection: Connection, asked: Asked, stream: Stream) -> int:
    if asked.until is None:
        return END
    return first_at(connection, asked.tenant_id, stream, asked.until)


def first_at(connection: Connection, tenant_id: str, stream: Stream, time: float) -> int:
    """Return the lowest sequence number of the chain at which `time` is reached.

    If all entries are before it, that is the number after the last one.
    """
    own = sa.and_(_c.tenant_id == tenant_id, _c.stream == stream)
    low = 0
    high = (connection.execute(sa.select(sa.func.max(_c.sequence)).where(own)).scalar() or 0) + 1
    while low + 1 < high:  # `low` is before `time`, `high` is not, or is the end
        middle = (low + high) // 2
        # The next one that is there: events may be in an archive, or somebody has deleted rows.
        query = sa.select(_c.sequence, _c.timestamp).where(own, _c.sequence >= middle)
        row = connection.execute(query.order_by(_c.sequence).limit(1)).first()
        if row is None or row.timestamp >= time:
            high = middle
        else:
            low = row.sequence
    return high
