"""Suppressions as rows: each has a scope, an author, a reason and an end (contract 56)."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import NotFoundError
from vyrox.store.tables import suppressions
from vyrox.triage.scope import Scope

MAX_LISTED: Final = 1000

State = Literal["active", "unconfirmed", "ended", "expired"]

Known = tuple[str, Scope]
"""The id of a suppression, and its scope."""

_c: Final = suppressions.c
_SCOPE: Final = (_c.shape, _c.program, _c.family, _c.host, _c.username)


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One suppression. Times are Unix seconds.

    Attributes:
        command: The beginning of the command's shape, for people; None without a shape.
        second: The person who has confirmed it.
        hits: How many alerts it has hidden.
    """

    id: str
    tenant_id: str
    scope: Scope
    command: str | None
    reason: str
    author: str
    second: str | None
    created_at: float
    expires_at: float
    ended_at: float | None
    end_reason: str | None
    hits: int
    last_hit_at: float | None

    def state(self, now: float) -> State:
        """Return whether it holds; `unconfirmed` waits for a second person."""
        if self.ended_at is not None:
            return "ended"
        if self.expires_at <= now:
            return "expired"
        return "unconfirmed" if self.scope.needs_second and self.second is None else "active"


def find(connection: Connection, tenant_id: str | None, suppression_id: str) -> Suppression:
    """Return a suppression; of any tenant if `tenant_id` is None. Raises NotFoundError."""
    query = _select().where(_c.id == suppression_id)
    if tenant_id is not None:
        query = query.where(_c.tenant_id == tenant_id)
    is_possible = suppression_id.isascii() and suppression_id.isprintable()
    row = connection.execute(query).one_or_none() if is_possible else None
    if row is None:
        raise NotFoundError(
            f"there is no suppression {suppression_id}; see: vyrox triage suppressed"
        )
    return _read(row)


def read_holding(connection: Connection, tenant_id: str, now: float) -> list[Known]:
    """Return the suppressions that hold at `now`, the oldest first. Each batch reads them."""
    query = sa.select(_c.id, _c.second, *_SCOPE).where(*living(tenant_id, now))
    found = connection.execute(query.order_by(_c.created_at, _c.id)).all()
    read = [(row[0], row[1], _scope(*row[2:])) for row in found]
    return [(id_, scope) for id_, second, scope in read if not scope.needs_second or second]


def read_living(connection: Connection, tenant_id: str, now: float) -> list[Suppression]:
    """Return the suppressions that have neither ended nor expired, the oldest first."""
    query = _select().where(*living(tenant_id, now)).order_by(_c.created_at, _c.id)
    return [_read(row) for row in connection.execute(query)]


def list_all(
    connection: Connection, tenant_id: str | None, now: float, with_ended: bool = False
) -> list[Suppression]:
    """Return suppressions, the newest first, at most MAX_LISTED; of all tenants if None."""
    query = _select().order_by(_c.created_at.desc(), _c.id).limit(MAX_LISTED)
    if tenant_id is not None:
        query = query.where(_c.tenant_id == tenant_id)
    if not with_ended:
        query = query.where(_c.ended_at.is_(None), _c.expires_at > now)
    return [_read(row) for row in connection.execute(query)]


def shown(suppression: Suppression, now: float) -> dict[str, object]:
    """Return a suppression with its state, as JSON for programs has it."""
    members: dict[str, object] = msgspec.to_builtins(suppression)
    return {"id": members.pop("id"), "state": suppression.state(now), **members}


def living(tenant_id: str, now: float) -> Sequence[sa.ColumnElement[bool]]:
    """Return the conditions of those that have neither ended nor expired."""
    return (_c.tenant_id == tenant_id, _c.ended_at.is_(None), _c.expires_at > now)


def _select() -> sa.Select[Any]:
    return sa.select(*suppressions.columns)


def _read(row: sa.Row[Any]) -> Suppression:
    values = dict(row._mapping)
    _, _, command = (values["shape"] or "").partition(" ")
    scope = _scope(*(values.pop(column.name) for column in _SCOPE))
    return Suppression(scope=scope, command=command or None, **values)


def _scope(
    shape: str | None,
    program: str | None,
    family: str | None,
    host: str | None,
    username: str | None,
) -> Scope:
    return Scope(
        shape=None if shape is None else shape.partition(" ")[0],
        program=program,
        families=tuple(family.split(",")) if family else (),
        host=host,
        username=username,
    )


def values_of(suppression: Suppression) -> dict[str, object]:
    """Return the values of a row. `family` has names with commas, `shape` a key and a text."""
    values = msgspec.structs.asdict(suppression)
    scope: Scope = values.pop("scope")
    command = values.pop("command")
    return {
        **values,
        "shape": None if scope.shape is None else f"{scope.shape} {command or ''}",
        "program": scope.program,
        "family": ",".join(scope.families) or None,
        "host": scope.host,
        "username": scope.username,
    }
