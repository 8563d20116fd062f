"""How people merge incidents, and move alerts from one to another (contract 54).

Each function is one transaction, as in `triage.life`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import is_possible_id, unknown_alert
from vyrox.chain.writer import append
from vyrox.errors import NotPossibleError
from vyrox.store.tables import alerts, verdicts
from vyrox.triage import rows
from vyrox.triage.hosts import Hosts
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.incidents import Grouping, Incident, Resolution, Status
from vyrox.triage.life import (
    Actor,
    settle,
    step_event,
    store_changed,
    unmerged,
    with_note,
    write_step,
)
from vyrox.triage.rebuild import rebuild
from vyrox.triage.rows import Newest
from vyrox.triage.story import BANDS

MAX_MOVED: Final = 500
"""Alerts that are moved at once."""

BY_HAND: Final = "manual"
"""The link between what a person has put together."""

_v: Final = verdicts.c


class _Decision(NamedTuple):
    status: Status
    resolution: Resolution | None
    closed_at: float | None


def merge(
    connection: Connection,
    one: IncidentKey,
    another: IncidentKey,
    actor: Actor,
    note: str | None = None,
) -> Incident:
    """Move all of the younger incident to the older one; return the older one.

    It stays open if either was open.

    Raises:
        NotFoundError: One of them does not exist.
        NotPossibleError: They are of two tenants, the same, or merged already; or people closed
            them for two reasons.
    """
    if one.tenant_id != another.tenant_id:
        raise NotPossibleError("two tenants never share an incident")
    if one == another:
        raise NotPossibleError(f"{one.id} cannot be merged into itself")
    newest = rows.lock(connection, one.tenant_id)
    target, other = (unmerged(connection, key) for key in sorted((one, another)))
    decision = _joint(target, other)
    before = max(target.band, other.band, key=BANDS.index)
    was = f"{other.id}, which was {other.resolution or other.status}"
    _take_over(connection, newest, target, other)
    target.status, target.resolution, target.closed_at = decision
    target.score = target.story.score()
    target.band = target.story.whole_band(target.score)
    write_step(connection, target, actor, "merged", with_note(was, note))
    merged = step_event(other, actor, "merged", into=target.id, why=BY_HAND, note=note)
    append(connection, [merged, *settle(target, before, actor)], actor.now)
    store_changed(connection, target, actor)
    return target


def move(
    connection: Connection,
    alert_ids: Sequence[str],
    into: IncidentKey | None,
    actor: Actor,
    note: str | None = None,
    source: IncidentKey | None = None,
) -> Incident:
    """Move alerts to another incident; return it. Both stories are made again from their alerts.

    An incident that loses its last alert is merged into the one that has it now.

    Args:
        into: None: a new incident.
        source: Where all the alerts must be. None: anywhere, in one tenant.

    Raises:
        NotFoundError: An alert or the incident does not exist.
        NotPossibleError: The alerts are of two tenants, not judged, there already, or all that
            their incident has; or an incident is too large.
    """
    wanted = list(dict.fromkeys(alert_ids))[: MAX_MOVED + 1]
    if len(wanted) > MAX_MOVED:
        raise NotPossibleError(f"at most {MAX_MOVED} alerts are moved at once")
    tenant_id = _tenant_of(connection, wanted, source)
    if into is not None and into.tenant_id != tenant_id:
        raise NotPossibleError("two tenants never share an incident")
    newest = rows.lock(connection, tenant_id)
    numbers = _incidents_of(connection, tenant_id, wanted)
    _check_source(numbers, source, into)
    sources = {
        number: unmerged(connection, IncidentKey(tenant_id, number))
        for number in sorted(set(numbers.values()) - ({into.number} if into else set()))
    }
    if into is None:
        target, newest = _new(newest, tenant_id, min(sources), actor)
        rows.store_incident(connection, target)
    else:
        target = unmerged(connection, into)
    moved = {alert_id: number for alert_id, number in numbers.items() if number in sources}
    _place(connection, tenant_id, list(moved), target.number)
    for left in sources.values():
        _leave(connection, newest, left, target, actor, is_new=into is None)
    rows.save(connection, Grouping(tenant_id, Hosts(newest.host), newest.incident))
    _receive(connection, target, moved, actor, note)
    return target


def _joint(target: Incident, other: Incident) -> _Decision:
    """Return the state of what two incidents become. The open one prevails."""
    both = (target, other)
    states = {each.status for each in both}
    if "acknowledged" in states:
        return _Decision("acknowledged", None, None)
    if "open" in states:
        return _Decision("open", None, None)
    decided = {each.resolution for each in both if each.is_decided}
    if len(decided) > 1:
        raise NotPossibleError(
            f"{target.id} is closed as {target.resolution} and {other.id} as {other.resolution}: "
            "reopen one of them first"
        )
    closed_at = max(each.closed_at or 0.0 for each in both)
    return _Decision("closed", next(iter(decided), "below_review"), closed_at)


def _take_over(connection: Connection, newest: Newest, target: Incident, other: Incident) -> None:
    grouping = Grouping(target.tenant_id, Hosts(newest.host), newest.incident)
    grouping.put(target, ())
    grouping.put(other, ())
    grouping.merge(target, other, BY_HAND)
    rows.save(connection, grouping)


def _tenant_of(connection: Connection, alert_ids: Sequence[str], source: IncidentKey | None) -> str:
    possible = [each for each in alert_ids if is_possible_id(each)]
    query = sa.select(alerts.c.id, alerts.c.tenant_id).where(alerts.c.id.in_(possible))
    if source is not None:
        query = query.where(alerts.c.tenant_id == source.tenant_id)
    found: dict[str, str] = {row.id: row.tenant_id for row in connection.execute(query)}
    if unknown := [each for each in alert_ids if each not in found]:
        raise unknown_alert(*unknown)
    if len(set(found.values())) != 1:
        raise NotPossibleError("two tenants never share an incident")
    return next(iter(found.values()))


def _incidents_of(
    connection: Connection, tenant_id: str, alert_ids: Sequence[str]
) -> dict[str, int]:
    query = sa.select(_v.alert_id, _v.incident).where(
        _v.tenant_id == tenant_id, _v.alert_id.in_(alert_ids)
    )
    numbers: dict[str, int] = {row.alert_id: row.incident for row in connection.execute(query)}
    if waiting := [each for each in alert_ids if each not in numbers]:
        raise NotPossibleError(f"not judged yet: {', '.join(waiting)}")
    return numbers


def _check_source(
    numbers: dict[str, int], source: IncidentKey | None, into: IncidentKey | None
) -> None:
    elsewhere = [each for each, number in numbers.items() if source and number != source.number]
    if source is not None and elsewhere:
        raise NotPossibleError(f"not in {source.id}: {', '.join(elsewhere)}")
    if into is not None and set(numbers.values()) == {into.number}:
        raise NotPossibleError(f"{into.id} has these alerts already")


def _new(newest: Newest, tenant_id: str, earlier: int, actor: Actor) -> tuple[Incident, Newest]:
    incident = Incident(
        tenant_id,
        newest.incident + 1,
        opened_at=actor.now,
        first_at=actor.now,
        last_at=actor.now,
        updated_at=actor.now,
        status="open",
        resolution=None,
        earlier=earlier,
    )
    return incident, Newest(newest.host, incident.number)


def _place(connection: Connection, tenant_id: str, alert_ids: Sequence[str], number: int) -> None:
    connection.execute(
        verdicts.update()
        .where(_v.tenant_id == tenant_id, _v.alert_id.in_(alert_ids))
        .values(incident=number)
    )


def _leave(
    connection: Connection,
    newest: Newest,
    left: Incident,
    target: Incident,
    actor: Actor,
    *,
    is_new: bool,
) -> None:
    """Make the story of an incident again that has lost alerts."""
    rebuild(connection, left)
    if left.alerts:
        write_step(connection, left, actor, "moved", f"alerts to {target.id}")
        store_changed(connection, left, actor)
    elif is_new:
        raise NotPossibleError(f"these are all alerts of {left.id}: nothing is left to separate")
    else:
        _take_over(connection, newest, target, left)


def _receive(
    connection: Connection,
    target: Incident,
    moved: dict[str, int],
    actor: Actor,
    note: str | None,
) -> None:
    """Make the story of an incident again that has got alerts."""
    before = target.band
    if BY_HAND not in target.story.links:
        target.story.links.append(BY_HAND)
    rebuild(connection, target)
    drafts = [
        step_event(
            target,
            actor,
            "moved",
            alert_id=alert_id,
            source=IncidentKey(target.tenant_id, number).id,
            note=note,
        )
        for alert_id, number in moved.items()
    ]
    for number, count in Counter(moved.values()).items():
        alerts_text = "1 alert" if count == 1 else f"{count} alerts"
        text = f"{alerts_text} from {IncidentKey(target.tenant_id, number).id}"
        write_step(connection, target, actor, "moved", with_note(text, note))
    append(connection, [*drafts, *settle(target, before, actor)], actor.now)
    store_changed(connection, target, actor)
