"""Everything about one incident, for a person who has to decide (contract 54)."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.models import ActionType
from vyrox.notify.messages import Announcement, Kind
from vyrox.store.tables import incident_keys, incidents
from vyrox.tenants.guard_rails import Rails, find
from vyrox.triage.announcement import message_of
from vyrox.triage.incident_ids import IncidentKey, find_survivor
from vyrox.triage.incident_list import ListedIncident, listed
from vyrox.triage.incidents import Incident, Resolution, Status
from vyrox.triage.notes.rows import Note, read_note
from vyrox.triage.proposal import propose
from vyrox.triage.score import Band
from vyrox.triage.timeline import Timeline, read_timeline

MAX_REFERENCES: Final = 10
"""Other incidents that are named."""

MAX_KEYS: Final = 32
"""Keys of an incident by which others are sought."""

MAX_SHARING: Final = 50
"""Incidents of one key, the newest, among which those with the newest alerts are named."""

LINKS: Final = {
    "vendor_group": "the vendor links these alerts",
    "same_host": "they are of one host, within four hours of each other",
    "named_target": "a command on one host names the other",
    "same_user_lateral": "the same person moved from one host to the other",
    "manual": "a person put them together",
}
"""Why alerts are together, in words."""

OWN_SIGNALS: Final = {
    "story.tactics": "three or more steps of an attack, together",
    "story.spread": "more than one host, and a command that runs something on another",
    "story.discovery_burst": "four or more kinds of discovery on one host within five minutes",
}
"""The signals that only several alerts together make, in words."""

_SHARED: Final = {
    "host": "same host",
    "group": "same group of the vendor",
    "lateral": "same person",
}
"""Kinds of keys by which two incidents refer to each other, the strongest first."""

_k: Final = incident_keys.c
_i: Final = incidents.c


class Why(msgspec.Struct, frozen=True):
    """A name with what it means."""

    name: str
    text: str


class FamilyReason(msgspec.Struct, frozen=True):
    """The strongest signal of a family over all alerts.

    Attributes:
        share: Of the family after mitigations, 0 to 1.
        text: What matched.
    """

    family: str
    share: float
    signal: str
    text: str
    alert_id: str


class OwnSignal(msgspec.Struct, frozen=True):
    """A signal that only several alerts together make."""

    signal: str
    weight: float
    text: str


class ShownProposal(msgspec.Struct, frozen=True, kw_only=True):
    """What triage proposes. It carries out nothing.

    Attributes:
        command: The command that would carry it out, without the name of who approves it. None if
            nothing is proposed.
    """

    action: ActionType | None
    reason: str
    hostname: str | None
    device_id: str | None
    command: tuple[str, ...] | None


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Another incident that shares something with this one."""

    id: str
    why: str
    band: Band
    status: Status
    resolution: Resolution | None
    last_at: float


class ShownIncident(ListedIncident, frozen=True, kw_only=True):
    """An incident with everything that is known of it.

    Attributes:
        redirected_from: The id that was asked for, if that incident was merged into this one.
        earlier: An older incident of the same host.
        note: What a language model has written about it. It is not checked.
    """

    redirected_from: str | None
    links: tuple[Why, ...]
    reasons: tuple[FamilyReason, ...]
    own_signals: tuple[OwnSignal, ...]
    proposal: ShownProposal
    earlier: str | None
    references: tuple[Reference, ...]
    note: Note | None
    timeline: Timeline


def show_incident(
    connection: Connection,
    key: IncidentKey,
    most: int | None = None,
    lines_most: int | None = None,
) -> ShownIncident:
    """Return an incident, or the one that it was merged into.

    Args:
        most: As for `read_timeline`; so is `lines_most`.

    Raises:
        NotFoundError: There is no such incident.
    """
    incident = find_survivor(connection, key)
    story = incident.story
    earlier = None if incident.earlier is None else IncidentKey(key.tenant_id, incident.earlier).id
    return ShownIncident(
        **msgspec.structs.asdict(listed(incident)),
        redirected_from=None if incident.id == key.id else key.id,
        links=tuple(Why(link, LINKS.get(link, link)) for link in story.links),
        reasons=_reasons(incident),
        own_signals=tuple(
            OwnSignal(name, weight, OWN_SIGNALS.get(name, name))
            for name, weight in story.own_signals().items()
        ),
        proposal=_proposal(incident, find(connection, [key.tenant_id])[key.tenant_id]),
        earlier=earlier,
        references=_references(connection, incident),
        note=read_note(connection, incident.tenant_id, incident.number),
        timeline=read_timeline(connection, incident, most, lines_most),
    )


def incident_message(connection: Connection, key: IncidentKey, now: float) -> Announcement:
    """Return the announcement that the incident, or the one it was merged into, would have now.

    Raises:
        NotFoundError: There is no such incident.
    """
    incident = find_survivor(connection, key)
    rails = find(connection, [key.tenant_id])[key.tenant_id]
    kind: Kind = "opened" if incident.announced_band is None else "updated"
    return message_of(incident, kind, now, rails)


def _proposal(incident: Incident, rails: Rails) -> ShownProposal:
    """Return what triage proposes, with the command that would carry it out."""
    proposal = propose(incident, rails)
    device = proposal.device
    command = None
    if proposal.action is not None and device is not None:
        command = (
            *("vyrox", "execute", "--tenant", incident.tenant_id),
            *("--alert", device.alert_id),
            *("--action", proposal.action),
            *("--host", device.device_id),
        )
    return ShownProposal(
        action=proposal.action,
        reason=proposal.reason,
        hostname=None if device is None else device.hostname,
        device_id=None if device is None else device.device_id,
        command=command,
    )


def _reasons(incident: Incident) -> tuple[FamilyReason, ...]:
    shares = incident.story.families
    signs = sorted(incident.story.signs.items(), key=lambda item: -shares.get(item[0], 0.0))
    return tuple(
        FamilyReason(family, shares.get(family, 0.0), sign.signal, sign.text, sign.alert_id)
        for family, sign in signs
    )


def _references(connection: Connection, incident: Incident) -> tuple[Reference, ...]:
    """Return the newest incidents that share a key with this one."""
    # Not in order: SQLite would read all keys of the tenant for that.
    own = sa.select(_k.key).where(
        _k.tenant_id == incident.tenant_id,
        _k.number == incident.number,
        sa.or_(*(_k.key.startswith(f"{kind}:") for kind in _SHARED)),
    )
    keys = sorted(connection.execute(own.limit(MAX_KEYS)).scalars())
    why = _sharing(connection, incident, keys)
    numbers = sorted(why, reverse=True)[:MAX_SHARING]
    query = (
        sa.select(_i.number, _i.band, _i.status, _i.resolution, _i.last_at)
        .where(_i.tenant_id == incident.tenant_id, _i.number.in_(numbers), _i.merged_into.is_(None))
        .order_by(_i.last_at.desc(), _i.number.desc())
        .limit(MAX_REFERENCES)
    )
    return tuple(
        Reference(
            id=IncidentKey(incident.tenant_id, row.number).id,
            why=_SHARED[why[row.number].partition(":")[0]],
            band=row.band,
            status=row.status,
            resolution=row.resolution,
            last_at=row.last_at,
        )
        for row in (connection.execute(query) if numbers else ())
    )


def _sharing(connection: Connection, incident: Incident, keys: Sequence[str]) -> dict[int, str]:
    """Return the newest incidents that have one of the keys, each with the first of its keys.

    A host may have very many incidents: the newest of each key are read along the primary key.
    """
    found: dict[int, str] = {}
    for key in keys:
        query = (
            sa.select(_k.number)
            .where(_k.tenant_id == incident.tenant_id, _k.key == key, _k.number != incident.number)
            .order_by(_k.number.desc())
            .limit(MAX_SHARING)
        )
        for number in connection.execute(query).scalars():
            found.setdefault(number, key)
    return found
