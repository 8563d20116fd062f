"""What the commands do about people who look, each in one transaction (contract 76)."""

from collections.abc import Sequence

from sqlalchemy import Connection

from vyrox.console import links, viewers
from vyrox.console.viewers import Viewer
from vyrox.store.database import database_time
from vyrox.tenants.known import require_known


def add(
    connection: Connection,
    tenant_id: str,
    name: str,
    home: str | None,
    by: str,
    wall: float,
    is_same: bool = False,
) -> Viewer:
    """Let a person look. Raises as `viewers.add`, and OperatorError.

    A link that an earlier person of this name has gives that person nothing back.
    """
    require_known(connection, tenant_id)
    now = database_time(connection, wall)
    added = viewers.add(connection, tenant_id, name, home, by, now, is_same=is_same)
    links.forget(connection, tenant_id, name)
    return added


def remove(connection: Connection, tenant_id: str, name: str, by: str, wall: float) -> None:
    """End a person's right to look. Raises NotFoundError."""
    viewers.remove(connection, tenant_id, name, by, database_time(connection, wall))
    links.forget(connection, tenant_id, name)


def link(
    connection: Connection, name: str, tenants: Sequence[str], wall: float
) -> tuple[str, list[str]]:
    """Return the secret of a new link, and the tenants that it opens. Raises as `links.make`."""
    return links.make(connection, name, tenants, database_time(connection, wall))
