"""Who may see a tenant's pages, and which tenants are one person's (contract 76).

A name is a person within one tenant only: two tenants may each have another jane. The operator
joins them with a viewer's `home`: the viewer is the approver of this name there.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import approvers
from vyrox.approvals.events import draft
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.store.locks import lock
from vyrox.store.tables import approvers as approvers_table
from vyrox.store.tables import viewers

MAX_VIEWERS: Final = 100
"""Of one tenant."""

_v: Final = viewers.c
_a: Final = approvers_table.c
_COLUMNS: Final = (_v.tenant_id, _v.name, _v.home, _v.added_at, _v.added_by, _v.removed_at)


class Viewer(msgspec.Struct, frozen=True):
    """A person who may see a tenant's pages.

    Attributes:
        home: The tenant whose approver of this name the viewer is, or None.
    """

    tenant_id: str
    name: str
    home: str | None
    added_at: float
    added_by: str
    removed_at: float | None


class Place(msgspec.Struct, frozen=True):
    """A tenant in which a name may look.

    Attributes:
        home: The tenant whose person the name is: that of `home`, or the tenant itself.
        is_approver: Whether the name is an approver of the tenant.
    """

    tenant_id: str
    home: str
    is_approver: bool


def list_viewers(connection: Connection, tenant_id: str | None) -> Sequence[Viewer]:
    """Return the viewers of a tenant, or of all, also those that were removed."""
    query = sa.select(*_COLUMNS).order_by(_v.tenant_id, _v.name)
    if tenant_id is not None:
        query = query.where(_v.tenant_id == tenant_id)
    return [Viewer(*row) for row in connection.execute(query)]


def places_of(
    connection: Connection, name: str, tenants: Collection[str] | None = None
) -> list[Place]:
    """Return where a name may look now, by tenant, or which of `tenants` these are.

    A viewer with a home counts while the approver of the home is on its list.
    """
    as_approver = sa.select(_a.tenant_id).where(_a.name == name, _a.removed_at.is_(None))
    as_viewer = sa.select(_v.tenant_id, _v.home).where(_v.name == name, _v.removed_at.is_(None))
    approving = set(connection.execute(as_approver).scalars())
    viewing = {
        tenant_id: home
        for tenant_id, home in connection.execute(as_viewer)
        if home is None or home in approving
    }
    found = approving | viewing.keys()
    if tenants is not None:
        found &= set(tenants)
    return [
        Place(tenant_id, viewing.get(tenant_id) or tenant_id, tenant_id in approving)
        for tenant_id in sorted(found)
    ]


def add(
    connection: Connection,
    tenant_id: str,
    name: str,
    home: str | None,
    by: str,
    now: float,
    *,
    is_same: bool = False,
) -> Viewer:
    """Let a person see a tenant's pages, with an event.

    Args:
        is_same: The approver of this name in the tenant is the person of the home.

    Raises:
        InvalidRequestError: The name is not of the form of one, or the home is the tenant itself.
        NotFoundError: The home has no approver of this name.
        NotPossibleError: The person may look already, the tenant has too many viewers, or the
            person of the home would act for the tenant under the name of an approver there.
    """
    approvers.check_name(name)
    if home == tenant_id:
        raise InvalidRequestError("the home is another tenant")
    lock(connection, "containments")
    is_approver = name in approvers.present(connection, tenant_id)
    if home is not None:
        approvers.require(connection, home, name)
        if is_approver and not is_same:
            raise NotPossibleError(
                f"{name} is an approver of {tenant_id}, so {name} of {home} would act for "
                f"{tenant_id} too: if it is the same person, add --same-person"
            )
    elif is_approver:
        raise NotPossibleError(f"{name} is an approver of {tenant_id}, and may look already")
    present = [each for each in list_viewers(connection, tenant_id) if each.removed_at is None]
    if any(each.name == name for each in present):
        raise NotPossibleError(f"{name} is a viewer of {tenant_id} already")
    if len(present) >= MAX_VIEWERS:
        raise NotPossibleError(f"{tenant_id} has {MAX_VIEWERS} viewers, which is the most")
    added = Viewer(tenant_id, name, home, now, by, None)
    connection.execute(viewers.delete().where(_is(tenant_id, name)))
    connection.execute(viewers.insert().values(msgspec.structs.asdict(added)))
    _append(connection, "viewer.added", added, by, now)
    return added


def remove(connection: Connection, tenant_id: str, name: str, by: str, now: float) -> None:
    """End a person's right to look, with an event. The next request of the person is refused.

    Raises:
        NotFoundError: There is no such viewer.
    """
    lock(connection, "containments")
    found = [
        each
        for each in list_viewers(connection, tenant_id)
        if each.name == name and each.removed_at is None
    ]
    if not found:
        raise NotFoundError(f"{tenant_id} has no viewer {name[:64]}")
    connection.execute(viewers.update().where(_is(tenant_id, name)).values(removed_at=now))
    _append(connection, "viewer.removed", found[0], by, now)


def _is(tenant_id: str, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(_v.tenant_id == tenant_id, _v.name == name)


def _append(connection: Connection, kind: str, viewer: Viewer, by: str, now: float) -> None:
    event = draft(kind, viewer.tenant_id, None, viewer=viewer.name, home=viewer.home, by=by)
    append(connection, [event], now)
