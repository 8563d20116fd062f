"""Counts for the daily totals what the audit chains say: incidents, proposals and actions.

The chains are append-only and have no gaps. So the task reads them from the place up to which it
has read, and stores the changes and the new place in one transaction: each entry is counted once,
after a stop too, and what was written before an upgrade is counted as well.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Scalar, Stream
from vyrox.errors import NotFoundError
from vyrox.store.database import Database
from vyrox.store.rows import insert_rows
from vyrox.store.tables import action_results, audit_log, proposals, totals_places
from vyrox.triage.incident_ids import find, parse_id
from vyrox.triage.totals import CLOSED_SIGNAL, Counted, Total, add, day_of

INTERVAL_S: Final = 5.0

PAGE: Final = 500
"""Entries of one chain that one transaction counts."""

TIME_STEP: Final = 1.05
"""The time to a decision is counted in steps that grow by this factor, so it is known to 5 %."""

_l: Final = audit_log.c
_p: Final = totals_places.c
_r: Final = action_results.c

# Literally the condition of the index `audit_log_deeds`, so that both databases use it.
IS_DEED: Final = sa.text("kind <> 'alert.accepted'")

# Jumps from tenant to tenant along the key, so the number of entries does not matter. The condition
# on the kind is literally that of the index `audit_log_deeds`.
_WITH_NEWS: Final = sa.text("""
WITH RECURSIVE tenant (id) AS (
    SELECT min(tenant_id) FROM audit_log WHERE tenant_id > ''
    UNION ALL
    SELECT (SELECT min(tenant_id) FROM audit_log WHERE tenant_id > tenant.id)
    FROM tenant WHERE tenant.id IS NOT NULL
), chain (id, stream) AS (
    SELECT id, 'actions' FROM tenant WHERE id IS NOT NULL
    UNION ALL
    SELECT id, 'events' FROM tenant WHERE id IS NOT NULL
)
SELECT DISTINCT id FROM chain WHERE EXISTS (
    SELECT 1 FROM audit_log AS entry
    WHERE kind <> 'alert.accepted' AND entry.tenant_id = chain.id AND entry.stream = chain.stream
    AND entry.sequence > coalesce((
        SELECT sequence FROM totals_places AS place
        WHERE place.tenant_id = chain.id AND place.stream = chain.stream
    ), 0)
)
""")

_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])

Members = Mapping[str, Scalar]


class _Proposed(msgspec.Struct):
    action_type: str


_proposed: Final = msgspec.json.Decoder(_Proposed)


class _Entry(msgspec.Struct, frozen=True):
    sequence: int
    kind: str
    timestamp: int
    hash: str
    entry: bytes

    @property
    def members(self) -> Members:
        """What the entry says; nothing if somebody has changed it beyond reading."""
        try:
            return _decoder.decode(self.entry)
        except ValueError:
            return {}


class _Action(msgspec.Struct):
    """A row of `action_results`, in the order of its columns."""

    tenant_id: str
    entry_hash: str
    day: int
    action_type: str
    outcome: str
    authority: str | None


class LogTotals:
    """Brings the totals up to the ends of the chains, again and again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Count all new entries of all tenants. Raises UnavailableError; the next run continues."""
        for tenant_id in await self._database.read(_with_news):
            while await self._database.write(count_log, tenant_id):
                pass


def count_log(connection: Connection, tenant_id: str) -> bool:
    """Count some of a tenant's new entries; return whether there may be more."""
    places = _lock_places(connection, tenant_id)
    # The events first: an action is then seen if its outcome is.
    events = _read(connection, tenant_id, "events", places["events"])
    actions = _read(connection, tenant_id, "actions", places["actions"])
    is_behind = len(actions) == PAGE
    counting = _Counting(connection, tenant_id)
    counting.add_actions(actions)
    if not is_behind:
        counting.add_events(events)
    counting.store()
    read: dict[str, Sequence[_Entry]] = {"actions": actions, "events": [] if is_behind else events}
    for stream, entries in read.items():
        if entries:
            is_place = sa.and_(_p.tenant_id == tenant_id, _p.stream == stream)
            place = totals_places.update().where(is_place)
            connection.execute(place.values(sequence=entries[-1].sequence))
    return is_behind or len(events) == PAGE


def time_step(seconds: float) -> str:
    """Return the key of a time: the end of its step, in seconds."""
    number = math.ceil(math.log(max(1.0, seconds), TIME_STEP))
    return f"{TIME_STEP**number:.0f}"


class _Counting:
    """What some entries of one tenant change."""

    def __init__(self, connection: Connection, tenant_id: str) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._counted = Counted()
        self._actions: dict[str, _Action] = {}
        self._kinds: dict[str, Callable[[_Entry, Members], None]] = {
            "incident.opened": self._incident,
            "incident.reopened": self._incident,
            "incident.merged": self._incident,
            "incident.closed": self._incident_closed,
            "approval.proposed": self._proposed,
            "approval.ended": self._ended,
            "approval.dispatched": self._dispatched,
            "break_glass.used": self._glass,
            "lease.lifting": self._lifting,
            "execute.outcome": self._outcome,
            "execute.refused": self._refused,
        }

    def add_actions(self, entries: Iterable[_Entry]) -> None:
        for each in entries:
            action = _Action(
                self._tenant_id, each.hash, day_of(each.timestamp), each.kind, "", None
            )
            self._actions[each.hash] = action
            self._count_action(action, 1)

    def add_events(self, entries: Iterable[_Entry]) -> None:
        for each in entries:
            count = self._kinds.get(each.kind)
            if count is not None:
                count(each, each.members)

    def store(self) -> None:
        add(self._connection, self._tenant_id, self._counted)
        insert_rows(
            self._connection,
            action_results,
            [msgspec.structs.astuple(each) for each in self._actions.values()],
            "ON CONFLICT (tenant_id, entry_hash) DO UPDATE SET "
            "outcome = excluded.outcome, authority = excluded.authority",
        )

    def _count(self, entry: _Entry, name: str, key: str) -> None:
        self._counted.count[Total(day_of(entry.timestamp), name, key)] += 1

    def _count_action(self, action: _Action, change: int) -> None:
        key = f"{action.action_type}/{action.outcome}"
        self._counted.count[Total(action.day, "action", key)] += change

    def _incident(self, entry: _Entry, members: Members) -> None:
        self._count(entry, "incident", entry.kind.removeprefix("incident."))
        if entry.kind == "incident.opened":
            self._count(entry, "opened", _text(members, "band"))

    def _incident_closed(self, entry: _Entry, members: Members) -> None:
        resolution = _text(members, "resolution")
        self._count(entry, "closed", resolution)
        for signal in self._signals(_text(members, "incident")):
            total = Total(day_of(entry.timestamp), CLOSED_SIGNAL, signal)
            self._counted.count[total] += 1
            self._counted.benign[total] += resolution == "false_positive"

    def _signals(self, incident_id: str) -> set[str]:
        """Return the signals that an incident keeps, of which there are few (`Story`)."""
        try:
            incident = find(self._connection, parse_id(incident_id))
        except NotFoundError:
            return set()
        if incident.tenant_id != self._tenant_id:
            return set()
        return {each.signal for each in incident.story.signs.values()} | {*incident.story.signals}

    def _proposed(self, entry: _Entry, members: Members) -> None:
        if not _is_drill(_text(members, "proposal").encode("utf-8", "replace")):
            self._count(entry, "proposal", "asked")

    def _ended(self, entry: _Entry, members: Members) -> None:
        state = _text(members, "state")
        self._decided(entry, _text(members, "proposal_id"), state)

    def _dispatched(self, entry: _Entry, members: Members) -> None:
        proposal_id = _text(members, "proposal_id")
        self._decided(entry, proposal_id, "dispatched")
        self._authorize(members, "proposal", proposal_id)

    def _lifting(self, _entry: _Entry, members: Members) -> None:
        self._authorize(members, "lease", _text(members, "proposal_id"))

    def _authorize(self, members: Members, kind: str, name: str) -> None:
        action = self._action(_text(members, "action_hash"))
        if action is not None:
            action.authority = f"{kind}:{name}"

    def _decided(self, entry: _Entry, proposal_id: str, state: str) -> None:
        """Count how a proposal ended, and how long people took if they have decided."""
        c = proposals.c
        query = sa.select(c.text, c.created_at, c.approved_at).where(
            c.id == proposal_id, c.tenant_id == self._tenant_id
        )
        row = self._connection.execute(query).first()
        if row is None or _is_drill(row.text):
            return
        self._count(entry, "proposal", state)
        if row.approved_at is not None or state == "rejected":
            at = entry.timestamp if row.approved_at is None else row.approved_at
            self._count(entry, "decide_s", time_step(at - row.created_at))

    def _glass(self, entry: _Entry, members: Members) -> None:
        self._count(entry, "break_glass", "used")
        self._authorize(members, "break_glass", _text(members, "break_glass_id"))

    def _outcome(self, _entry: _Entry, members: Members) -> None:
        action = self._action(_text(members, "entry"))
        if action is None:
            return
        self._count_action(action, -1)
        action.outcome = _text(members, "outcome")
        self._count_action(action, 1)

    def _refused(self, entry: _Entry, members: Members) -> None:
        self._count(entry, "action", f"{_text(members, 'action_type')}/refused")

    def _action(self, entry_hash: str) -> _Action | None:
        if entry_hash not in self._actions:
            query = sa.select(action_results).where(
                _r.tenant_id == self._tenant_id, _r.entry_hash == entry_hash
            )
            row = self._connection.execute(query).first()
            if row is None:
                return None
            self._actions[entry_hash] = _Action(*row)
        return self._actions[entry_hash]


def _text(members: Members, name: str) -> str:
    """Return a member as a key: short, and never missing."""
    value = members.get(name)
    return value.replace("\0", " ") if isinstance(value, str) else ""


def _is_drill(text: bytes) -> bool:
    try:
        return _proposed.decode(text).action_type == "DRILL"
    except ValueError:
        return False


def _with_news(connection: Connection) -> Sequence[str]:
    """Return the tenants with entries that are not counted."""
    return connection.execute(_WITH_NEWS).scalars().all()


def _lock_places(connection: Connection, tenant_id: str) -> dict[str, int]:
    """Return up to where each chain was read. No other transaction counts it until this ends."""
    first = [(tenant_id, "actions", 0), (tenant_id, "events", 0)]
    insert_rows(connection, totals_places, first, "ON CONFLICT (tenant_id, stream) DO NOTHING")
    query = sa.select(_p.stream, _p.sequence).where(_p.tenant_id == tenant_id)
    query = query.order_by(_p.stream).with_for_update()
    return {row.stream: row.sequence for row in connection.execute(query)}


def _read(connection: Connection, tenant_id: str, stream: Stream, after: int) -> list[_Entry]:
    query = (
        sa.select(_l.sequence, _l.kind, _l.timestamp, _l.hash, _l.entry)
        .where(IS_DEED, _l.tenant_id == tenant_id, _l.stream == stream, _l.sequence > after)
        .order_by(_l.sequence)
        .limit(PAGE)
    )
    return [_Entry(*row) for row in connection.execute(query)]
