"""Makes the story of an incident again from its rows, after alerts were moved by hand.

Here, and only here, the score of an incident may fall.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.errors import NotPossibleError
from vyrox.store.rows import insert_rows
from vyrox.store.tables import alerts, host_devices, incident_keys, person_hosts, verdicts
from vyrox.triage.hosts import clean, exact_device
from vyrox.triage.incidents import MAX_HOSTS_OF_A_PERSON, Incident
from vyrox.triage.judged import Judged
from vyrox.triage.linking import DAY_S, keys
from vyrox.triage.loading import MAX_PERSON_HOSTS
from vyrox.triage.score import Verdict
from vyrox.triage.story import Story
from vyrox.triage.users import person

MAX_REBUILT: Final = 20_000
"""Alerts of an incident whose story is made again. The tenant's triage waits meanwhile."""

PAGE: Final = 100

decode_verdict: Final = msgspec.json.Decoder(Verdict).decode

_v: Final = verdicts.c
_a: Final = alerts.c


class Placed(msgspec.Struct, frozen=True):
    """An alert with its verdict, and its host (or None)."""

    judged: Judged
    host: int | None


def _judged_rows() -> sa.Select[Any]:
    """Return the query of alerts with their verdicts, in no order."""
    return sa.select(
        _a.alert, _v.verdict, _a.received_at, _v.host, _v.happened_at, _v.alert_id
    ).join(alerts, _a.id == _v.alert_id)


def _placed(row: sa.Row[Any]) -> Placed:
    """Return a row of `_judged_rows`."""
    judged = Judged(decode_alert(row.alert), decode_verdict(row.verdict), row.received_at)
    return Placed(judged, row.host)


def rebuild(connection: Connection, incident: Incident) -> None:
    """Set all that `incident` has from its alerts, and store its keys. Its links stay.

    Raises:
        NotPossibleError: It has more than MAX_REBUILT alerts.
    """
    if incident.alerts > MAX_REBUILT:
        raise NotPossibleError(
            f"{incident.id} has {incident.alerts} alerts; alerts are moved from and to incidents "
            f"of at most {MAX_REBUILT}"
        )
    persons, devices = _Persons(connection, incident), _Devices(connection, incident)
    story = Story(links=incident.story.links, announced=incident.story.announced)
    found: set[str] = set()
    times: list[float] = []
    for each in _alerts(connection, incident):
        story.add(each.judged, each.host, devices.of(each))
        found.update(keys(each.judged, each.host, persons.linking(each), story))
        times.append(each.judged.at)
    incident.story, incident.alerts = story, len(times)
    if times:
        incident.first_at, incident.last_at = min(times), max(times)
    incident.score = story.score()
    incident.band = story.whole_band(incident.score)
    _store_keys(connection, incident, found)


def _alerts(connection: Connection, incident: Incident) -> Iterator[Placed]:
    """Yield the incident's alerts in the order in which they happened, a page at a time."""
    query = (
        _judged_rows()
        .where(_v.tenant_id == incident.tenant_id, _v.incident == incident.number)
        .order_by(_v.happened_at, _v.alert_id)
        .limit(PAGE)
    )
    page = connection.execute(query).all()
    while page:
        yield from map(_placed, page)
        last = (page[-1].happened_at, page[-1].alert_id)
        after = query.where(
            _v.happened_at >= last[0], sa.tuple_(_v.happened_at, _v.alert_id) > sa.tuple_(*last)
        )
        page = connection.execute(after).all()


def _store_keys(connection: Connection, incident: Incident, found: set[str]) -> None:
    k = incident_keys
    is_own = (k.c.tenant_id == incident.tenant_id, k.c.number == incident.number)
    connection.execute(k.delete().where(*is_own))
    insert_rows(
        connection, k, [(incident.tenant_id, key, incident.number) for key in sorted(found)]
    )


class _Persons:
    """Which persons link incidents: not those that were on many hosts in a day."""

    def __init__(self, connection: Connection, incident: Incident) -> None:
        self._connection = connection
        self._tenant_id = incident.tenant_id
        self._seen: dict[str, list[float]] = {}

    def linking(self, each: Placed) -> str | None:
        who = person(each.judged.alert.username)
        if who is None or each.host is None:
            return None
        recent = sum(at > each.judged.at - DAY_S for at in self._times(who))
        return who if recent <= MAX_HOSTS_OF_A_PERSON else None

    def _times(self, who: str) -> list[float]:
        if who not in self._seen:
            c = person_hosts.c
            query = sa.select(c.last_at).where(c.tenant_id == self._tenant_id, c.person == who)
            query = query.order_by(c.last_at.desc()).limit(MAX_PERSON_HOSTS)
            self._seen[who] = list(self._connection.execute(query).scalars())
        return self._seen[who]


class _Devices:
    """The device of an alert that names none: the only one of its host at its vendor."""

    def __init__(self, connection: Connection, incident: Incident) -> None:
        self._connection = connection
        self._tenant_id = incident.tenant_id
        self._known: dict[tuple[int, str], str | None] = {}

    def of(self, each: Placed) -> str | None:
        device_id = clean(each.judged.alert.device_id)
        if device_id is not None or each.host is None:
            return exact_device(each.judged.alert)
        key = (each.host, each.judged.alert.source)
        if key not in self._known:
            c = host_devices.c
            query = sa.select(c.device_id).where(
                c.tenant_id == self._tenant_id, c.host == key[0], c.source == key[1]
            )
            ids = self._connection.execute(query.limit(2)).scalars().all()
            self._known[key] = ids[0] if len(ids) == 1 else None
        return self._known[key]
