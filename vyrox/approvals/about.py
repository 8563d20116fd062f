"""The proposals about some alerts or devices, for the pages of an incident and of a device."""

from collections.abc import Collection
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import rows
from vyrox.approvals.rows import StoredDecision
from vyrox.approvals.shown import newest_outcome
from vyrox.approvals.states import State
from vyrox.models import normal_host
from vyrox.store.tables import verdicts

MAX_READ: Final = 200
"""The newest proposals of a tenant that are read."""

MAX_FOUND: Final = 20

_v: Final = verdicts.c


class About(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal, with who decided what on it, and the newest outcome of its action."""

    proposal_id: str
    state: State
    action_type: str
    host: str
    hostname: str | None
    requested_by: str
    reason: str
    required: int
    created_at: int
    expires_at: int
    ended_at: float | None
    outcome: str | None
    decisions: tuple[StoredDecision, ...]


def proposals_about(
    connection: Connection,
    tenant_id: str,
    hosts: Collection[str],
    incident: int | None,
    now: float,
) -> tuple[About, ...]:
    """Return the newest proposals of the tenant for these devices, or for an alert of the incident.

    At most MAX_FOUND of the newest MAX_READ. Those whose text was changed are left out.

    Args:
        hosts: Ids or names of devices.
    """
    found = []
    for stored in rows.newest(connection, tenant_id, MAX_READ, only_open=False):
        try:
            found.append((stored, stored.proposal))
        except ValueError:
            continue
    own = {normal_host(each) for each in hosts}
    named = [proposal.alert_id for _, proposal in found]
    within = _alerts_of(connection, tenant_id, incident, named) if incident is not None else set()
    kept = [
        (stored, proposal)
        for stored, proposal in found
        if proposal.alert_id in within
        or normal_host(proposal.host) in own
        or (proposal.hostname is not None and normal_host(proposal.hostname) in own)
    ]
    return tuple(
        About(
            proposal_id=stored.id,
            state=stored.state_at(now),
            action_type=proposal.action_type,
            host=proposal.host,
            hostname=proposal.hostname,
            requested_by=proposal.requested_by,
            reason=proposal.reason,
            required=proposal.required,
            created_at=proposal.created_at,
            expires_at=proposal.expires_at,
            ended_at=stored.ended_at,
            outcome=newest_outcome(connection, stored),
            decisions=tuple(rows.decisions_on(connection, stored.id)),
        )
        for stored, proposal in kept[:MAX_FOUND]
    )


def _alerts_of(
    connection: Connection, tenant_id: str, incident: int, alert_ids: Collection[str]
) -> set[str]:
    possible = [each for each in alert_ids if "\0" not in each]
    # By the ids alone: with the incident too, SQLite would read all alerts of the incident.
    query = sa.select(_v.alert_id, _v.tenant_id, _v.incident).where(_v.alert_id.in_(possible))
    found = connection.execute(query).all() if possible else ()
    return {row[0] for row in found if row[1:] == (tenant_id, incident)}
