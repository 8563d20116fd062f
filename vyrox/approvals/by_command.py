"""What the commands do, each in one transaction, by the clock that the service uses."""

from collections.abc import Sequence

from sqlalchemy import Connection

from vyrox.approvals import rows
from vyrox.approvals.asking import Asked, ask
from vyrox.approvals.break_glass import Used, open_ones
from vyrox.approvals.of_incident import wanted_of
from vyrox.approvals.proposing import Wanted, propose, withdraw
from vyrox.approvals.shown import ListedProposal, ShownProposal, list_proposals, show
from vyrox.errors import OperatorError
from vyrox.store.database import database_time
from vyrox.triage.incident_ids import IncidentKey


def find(
    connection: Connection, tenant_id: str | None, wall: float, limit: int, only_open: bool
) -> list[ListedProposal]:
    """Return proposals as `list_proposals` does."""
    now = database_time(connection, wall)
    return list_proposals(connection, tenant_id, now, limit, only_open=only_open)


def find_with_glasses(
    connection: Connection, tenant_id: str | None, wall: float, limit: int, only_open: bool
) -> tuple[list[ListedProposal], Sequence[Used]]:
    """Return proposals, and what was done by break glass and is not acknowledged."""
    listed = find(connection, tenant_id, wall, limit, only_open)
    return listed, open_ones(connection, tenant_id)


def show_any(connection: Connection, proposal_id: str, wall: float) -> ShownProposal:
    """Return everything about a proposal of any tenant.

    Raises:
        NotFoundError: There is no such proposal.
        OperatorError: Its text was changed in the database.
    """
    tenant_id = rows.find_tenant(connection, proposal_id)
    try:
        return show(connection, tenant_id, proposal_id, database_time(connection, wall))
    except ValueError as exc:
        raise OperatorError(f"{proposal_id} was changed in the database: {exc}") from exc


def propose_wanted(connection: Connection, wanted: Wanted, wall: float, ttl_s: int) -> Asked:
    """Propose an action. Raises as `propose`."""
    proposed = propose(connection, wanted, database_time(connection, wall), ttl_s=ttl_s)
    return ask(connection, proposed, wanted.tenant_id)


def propose_suggested(
    connection: Connection, key: IncidentKey, by: str, reason: str | None, wall: float, ttl_s: int
) -> Asked:
    """Propose what an incident suggests. Raises as `wanted_of` and `propose`."""
    return propose_wanted(connection, wanted_of(connection, key, by, reason), wall, ttl_s)


def withdraw_any(connection: Connection, proposal_id: str, by: str, wall: float) -> None:
    """Take back a proposal of any tenant. Raises as `withdraw`."""
    tenant_id = rows.find_tenant(connection, proposal_id)
    withdraw(connection, tenant_id, proposal_id, by, database_time(connection, wall))
