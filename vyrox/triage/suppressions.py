"""Suppressions: "this alert is normal here", with an author, a reason and an end (contract 56).

All changes of one tenant's suppressions wait for each other, and for the tenant's verdicts.
"""

import secrets
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import storable
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.store.tables import suppressions
from vyrox.triage import rows
from vyrox.triage.scope import Scope

DAY_S: Final = 86_400.0

DEFAULT_DAYS: Final = 30
MAX_DAYS: Final = 180

MAX_ACTIVE: Final = 500
"""Suppressions of a tenant that have neither ended nor expired. All are read for each batch."""

MAX_LISTED: Final = 1000

MAX_REASON: Final = 1000

State = Literal["active", "unconfirmed", "ended", "expired"]

Days = Annotated[int, msgspec.Meta(ge=1, le=MAX_DAYS)]

_c: Final = suppressions.c


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


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A suppression that a person wants to make."""

    tenant_id: str
    scope: Scope
    command: str | None
    reason: str
    author: str
    days: int = DEFAULT_DAYS


def create(
    connection: Connection, wanted: Wanted, now: float, request_id: str | None = None
) -> Suppression:
    """Store a suppression, with its event. It holds at once, or when it is confirmed.

    The caller has locked the tenant (`rows.lock`) and asked `contradiction`.

    Args:
        request_id: Of the HTTP request, for the event.

    Raises:
        InvalidRequestError: The reason, the author or the number of days is invalid.
        NotPossibleError: The tenant has MAX_ACTIVE already.
    """
    reason, author = _text(wanted.reason, MAX_REASON, "reason"), _text(wanted.author, 256, "name")
    if not 1 <= wanted.days <= MAX_DAYS:
        raise InvalidRequestError(f"a suppression holds for 1 to {MAX_DAYS} days")
    living = sa.select(sa.func.count()).where(*_living(wanted.tenant_id, now))
    if connection.execute(living).scalar_one() >= MAX_ACTIVE:
        raise NotPossibleError(
            f"{wanted.tenant_id} has {MAX_ACTIVE} suppressions already: end one, or make one "
            "with a wider scope"
        )
    suppression = Suppression(
        id=f"sup-{secrets.token_hex(6)}",
        tenant_id=wanted.tenant_id,
        scope=wanted.scope,
        command=wanted.command,
        reason=reason,
        author=author,
        second=None,
        created_at=now,
        expires_at=now + wanted.days * DAY_S,
        ended_at=None,
        end_reason=None,
        hits=0,
        last_hit_at=None,
    )
    connection.execute(suppressions.insert().values(_values(suppression)))
    scope = suppression.scope
    _append(
        connection,
        suppression,
        "suppression.created",
        author,
        now,
        request_id,
        reason=reason,
        command=suppression.command,
        program=scope.program,
        families=", ".join(scope.families) or None,
        host=scope.host,
        user=scope.username,
        expires_at=int(suppression.expires_at),
        waits_for_second=scope.needs_second,
    )
    return suppression


def confirm(
    connection: Connection,
    tenant_id: str,
    suppression_id: str,
    by: str,
    now: float,
    request_id: str | None = None,
) -> Suppression:
    """Confirm a suppression as the second person; it holds from now on.

    Raises:
        NotFoundError: The tenant has no such suppression.
        NotPossibleError: It does not wait for a second person, or `by` is its author.
    """
    rows.lock(connection, tenant_id)
    found = find(connection, tenant_id, suppression_id)
    by = _text(by, 256, "name")
    if found.state(now) != "unconfirmed":
        raise NotPossibleError(f"{suppression_id} waits for no second person")
    if _same_person(by, found.author):
        raise NotPossibleError(
            f"{found.author} made {suppression_id}: a second person must confirm it"
        )
    connection.execute(suppressions.update().where(_c.id == suppression_id).values(second=by))
    _append(connection, found, "suppression.confirmed", by, now, request_id)
    return msgspec.structs.replace(found, second=by)


def end(
    connection: Connection,
    tenant_id: str,
    suppression_id: str,
    by: str,
    why: str,
    now: float,
    request_id: str | None = None,
) -> Suppression:
    """End a suppression. One that has ended, or expired, stays as it is.

    Raises:
        NotFoundError: The tenant has no such suppression.
    """
    rows.lock(connection, tenant_id)
    found = find(connection, tenant_id, suppression_id)
    if found.state(now) in {"ended", "expired"}:
        return found
    by, why = _text(by, 256, "name"), storable(why)[:MAX_REASON]
    ended = msgspec.structs.replace(found, ended_at=now, end_reason=why)
    connection.execute(
        suppressions.update().where(_c.id == suppression_id).values(ended_at=now, end_reason=why)
    )
    _append(connection, found, "suppression.ended", by, now, request_id, why=why, hits=found.hits)
    return ended


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


def read_holding(connection: Connection, tenant_id: str, now: float) -> list[Suppression]:
    """Return the suppressions that hold at `now`, the oldest first."""
    return [each for each in read_living(connection, tenant_id, now) if each.state(now) == "active"]


def read_living(connection: Connection, tenant_id: str, now: float) -> list[Suppression]:
    """Return the suppressions that have neither ended nor expired, the oldest first."""
    query = _select().where(*_living(tenant_id, now)).order_by(_c.created_at, _c.id)
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


def _living(tenant_id: str, now: float) -> Sequence[sa.ColumnElement[bool]]:
    return (_c.tenant_id == tenant_id, _c.ended_at.is_(None), _c.expires_at > now)


def _append(
    connection: Connection,
    suppression: Suppression,
    kind: str,
    by: str,
    now: float,
    request_id: str | None,
    **members: str | int | bool | None,
) -> None:
    draft = event(
        kind, suppression.tenant_id, request_id, suppression=suppression.id, by=by, **members
    )
    append(connection, [draft], now)


def _select() -> sa.Select[Any]:
    return sa.select(*suppressions.columns)


def _read(row: sa.Row[Any]) -> Suppression:
    """Return the suppression of a row. `family` has names with commas, `shape` a key and a text."""
    values = dict(row._mapping)
    shape, _, command = (values.pop("shape") or "").partition(" ")
    families = values.pop("family")
    scope = Scope(
        shape=shape or None,
        families=tuple(families.split(",")) if families else (),
        program=values.pop("program"),
        host=values.pop("host"),
        username=values.pop("username"),
    )
    return Suppression(scope=scope, command=command or None, **values)


def _values(suppression: Suppression) -> dict[str, object]:
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


def _text(text: str, limit: int, what: str) -> str:
    text = storable(text).strip()
    if not text or len(text) > limit:
        raise InvalidRequestError(f"the {what} must be a text of at most {limit} characters")
    return text


def _same_person(one: str, other: str) -> bool:
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
