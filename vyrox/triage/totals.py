"""Daily totals of each tenant, which reports read (contract 81).

Alerts are counted in the transaction that stores their verdicts, and a person's verdict in the
transaction that stores it. Both hold the tenant's triage lock. So after a kill at any moment, the
totals are what a recount of the rows would give. Everything else is counted from the audit log,
by `triage.totals_log`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.models import NormalizedAlert
from vyrox.store.rows import insert_rows
from vyrox.store.tables import alerts, daily_totals, verdicts
from vyrox.triage.judged import Judged
from vyrox.triage.rows import parts
from vyrox.triage.score import Verdict

DAY_S: Final = 86_400

MAX_KEYS: Final = 200
"""Keys of one name that a tenant has on one day; what has another key is counted as OTHER.

A sender chooses some of the keys, and must not decide how many rows there are.
"""

OTHER: Final = "(other)"

KEPT_DAYS: Final = 400
"""How long totals are kept: a year, and a month to compare with."""

CLOSED_SIGNAL: Final = "closed_signal"
"""The name under which each incident that a person closes is counted, for each of its signals.

`benign` are those that were closed as a false alarm. Closing gives no alert a verdict: that would
end the delivery of each, with an event for each, and an incident may have very many.
"""

MAX_PART: Final = 64
"""Characters of each part of a rule's key."""

_t: Final = daily_totals.c
_encoder: Final = msgspec.json.Encoder()
_verdict: Final = msgspec.json.Decoder(Verdict)

_ADD: Final = (
    "ON CONFLICT (tenant_id, day, name, key) DO UPDATE SET "
    "count = daily_totals.count + excluded.count, "
    "judged = daily_totals.judged + excluded.judged, "
    "benign = daily_totals.benign + excluded.benign"
)


# Made once, as each batch of alerts needs it.
_KNOWN: Final = sa.select(_t.day, _t.name, _t.key).where(
    _t.tenant_id == sa.bindparam("tenant_id"),
    _t.day == sa.bindparam("day"),
    _t.name.in_(sa.bindparam("names", expanding=True)),
    _t.key.in_(sa.bindparam("keys", expanding=True)),
)


class Total(NamedTuple):
    """What is counted: on which day, under which name and key."""

    day: int
    name: str
    key: str


class Rule(msgspec.Struct, frozen=True, array_like=True):
    """What a vendor's alerts have in common, as far as an alert says it: the key of `rule`."""

    source: str
    technique: str = ""
    program: str = ""


Changes = Counter[Total]


class Counted(msgspec.Struct):
    """Changes of totals that wait to be stored together."""

    count: Changes = msgspec.field(default_factory=Counter)
    judged: Changes = msgspec.field(default_factory=Counter)
    benign: Changes = msgspec.field(default_factory=Counter)


def day_of(seconds: float) -> int:
    """Return the day of a time in Unix seconds, in UTC, counted from 1970."""
    return int(seconds // DAY_S)


def count_alerts(connection: Connection, tenant_id: str, new: Sequence[Judged]) -> None:
    """Count alerts that get their verdict in this transaction, on the days of their arrival.

    A person may have judged an alert before triage has.
    """
    counted = Counted()
    for each in new:
        totals = _totals_of(each.alert, each.verdict, each.arrived_at)
        counted.count.update(totals)
        if each.person is not None:
            _change(counted, totals, None, each.person)
    add(connection, tenant_id, counted)


def count_decisions(
    connection: Connection, tenant_id: str, decided: Mapping[str, tuple[str | None, str]]
) -> None:
    """Count what a person has decided about alerts, on the days of the alerts' arrival.

    Args:
        decided: By the alert's id, the person's verdict before and now. An alert that triage has
            not judged yet is counted when it is.
    """
    counted = Counted()
    for some in parts(decided):
        query = (
            sa.select(verdicts.c.alert_id, verdicts.c.verdict, alerts.c.alert, alerts.c.received_at)
            .join(alerts, alerts.c.id == verdicts.c.alert_id)
            .where(verdicts.c.alert_id.in_(some), verdicts.c.is_counted)
        )
        for row in connection.execute(query):
            totals = _totals_of(
                decode_alert(row.alert), _verdict.decode(row.verdict), row.received_at
            )
            _change(counted, totals, *decided[row.alert_id])
    add(connection, tenant_id, counted)


def rule_of(alert: NormalizedAlert) -> str:
    """Return the key of an alert's rule, which is short and can be stored."""
    return _rule(alert.source, alert.technique or "", alert.process_name or "")


@lru_cache(4096)
def _rule(source: str, technique: str, program: str) -> str:
    return _encoder.encode(
        [_storable(each) for each in (source, technique, program.lower())]
    ).decode()


def read_rule(key: str) -> Rule | None:
    """Return the rule of a key; None for OTHER."""
    return None if key == OTHER else msgspec.json.decode(key, type=Rule)


def add(connection: Connection, tenant_id: str, counted: Counted) -> None:
    """Store changes. No two transactions of a tenant may do so for the same name at once."""
    wanted = {*counted.count, *counted.judged, *counted.benign}
    if not wanted:
        return
    places = _places(connection, tenant_id, wanted)
    sums: dict[Total, list[int]] = {}
    for column, changes in enumerate((counted.count, counted.judged, counted.benign)):
        for total, change in changes.items():
            sums.setdefault(places[total], [0, 0, 0])[column] += change
    rows = [(tenant_id, *total, *sums[total]) for total in sorted(sums) if any(sums[total])]
    insert_rows(connection, daily_totals, rows, _ADD)


def _totals_of(alert: NormalizedAlert, verdict: Verdict, arrived_at: float) -> list[Total]:
    day = day_of(arrived_at)
    signals = {_storable(reason.signal) for reason in verdict.reasons}
    return [
        Total(day, "band", verdict.band),
        Total(day, "rule", rule_of(alert)),
        *(Total(day, "signal", each) for each in signals),
    ]


def _change(counted: Counted, totals: Iterable[Total], before: str | None, now: str | None) -> None:
    for total in totals:
        counted.judged[total] += (now is not None) - (before is not None)
        counted.benign[total] += (now == "benign") - (before == "benign")


def _places(connection: Connection, tenant_id: str, wanted: set[Total]) -> dict[Total, Total]:
    """Return under which total each wanted one is stored: itself, or OTHER if there is no room."""
    known: set[Total] = set()
    # Not triples in one list: for these, SQLite reads all totals of the tenant.
    names: dict[int, set[str]] = {}
    keys: dict[int, set[str]] = {}
    for total in wanted:
        names.setdefault(total.day, set()).add(total.name)
        keys.setdefault(total.day, set()).add(total.key)
    for day, own in sorted(keys.items()):
        of_day = {"tenant_id": tenant_id, "day": day, "names": sorted(names[day])}
        for some in parts(own):
            found = connection.execute(_KNOWN, {**of_day, "keys": some}).all()
            known |= {Total(*row) for row in found}
    places = {total: total for total in known}
    room: dict[tuple[int, str], int] = {}
    for total in sorted(wanted - known):
        place = (total.day, total.name)
        if place not in room:
            room[place] = MAX_KEYS - _keys(connection, tenant_id, *place)
        room[place] -= 1
        is_own = room[place] >= 0 or total.key == OTHER
        places[total] = total if is_own else total._replace(key=OTHER)
    return places


def _keys(connection: Connection, tenant_id: str, day: int, name: str) -> int:
    query = sa.select(sa.func.count()).where(
        _t.tenant_id == tenant_id, _t.day == day, _t.name == name
    )
    return connection.execute(query).scalar_one()


def _storable(text: str) -> str:
    """Return a short text without what PostgreSQL cannot store."""
    return text[:MAX_PART].replace("\0", " ").encode("utf-8", "replace").decode()


def delete_before(connection: Connection, day: int) -> int:
    """Delete the totals of earlier days; return how many."""
    return connection.execute(daily_totals.delete().where(_t.day < day)).rowcount
