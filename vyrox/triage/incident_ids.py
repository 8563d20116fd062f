"""The id by which people name an incident: `{tenant_id}-{number}`."""

import re
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import NotFoundError
from vyrox.ids import is_tenant_id
from vyrox.store.tables import incidents
from vyrox.tenants.known import is_known, unknown_text
from vyrox.triage import rows
from vyrox.triage.incidents import Incident

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")

_i: Final = incidents.c


class IncidentKey(NamedTuple):
    """The tenant of an incident, and the tenant's own number of it."""

    tenant_id: str
    number: int

    @property
    def id(self) -> str:
        """What people call the incident."""
        return f"{self.tenant_id}-{self.number}"


def key_of(incident: Incident) -> IncidentKey:
    """Return the key of an incident."""
    return IncidentKey(incident.tenant_id, incident.number)


def parse_id(text: str) -> IncidentKey:
    """Return the key that `text` names.

    Raises:
        NotFoundError: No incident can have this id.
    """
    tenant_id, _, number = text.rpartition("-")
    if not is_tenant_id(tenant_id) or _NUMBER.fullmatch(number) is None:
        raise NotFoundError(
            f"{text[:256]} is not the id of an incident, which is the tenant, a hyphen and a "
            "number; see: vyrox incident list"
        )
    return IncidentKey(tenant_id, int(number))


def find(connection: Connection, key: IncidentKey) -> Incident:
    """Return the incident, also one that was merged into another.

    Raises:
        NotFoundError: There is no such incident; the text names the nearest.
    """
    incident = rows.read_incident(connection, *key)
    if incident is None:
        raise NotFoundError(f"there is no incident {key.id}{_hint(connection, key)}")
    return incident


def find_survivor(connection: Connection, key: IncidentKey) -> Incident:
    """Return the incident, or the one that it was merged into.

    Raises:
        NotFoundError: There is no such incident; the text names the nearest.
    """
    incident = find(connection, key)
    # An incident is merged into one that is not merged itself, so this ends.
    while incident.merged_into is not None:
        incident = find(connection, IncidentKey(key.tenant_id, incident.merged_into))
    return incident


def _hint(connection: Connection, key: IncidentKey) -> str:
    own = sa.select(_i.number).where(_i.tenant_id == key.tenant_id)
    below = own.where(_i.number < key.number).order_by(_i.number.desc()).limit(1)
    above = own.where(_i.number > key.number).order_by(_i.number).limit(1)
    near = [connection.execute(query).scalar() for query in (below, above)]
    numbers = [number for number in near if number is not None]
    if not numbers:
        if not is_known(connection, key.tenant_id):
            return f"; {unknown_text(connection, key.tenant_id)}"
        return f"; {key.tenant_id} has no incident; see: vyrox incident list"
    nearest = min(numbers, key=lambda number: abs(number - key.number))
    return f"; the nearest is {key.tenant_id}-{nearest}"
