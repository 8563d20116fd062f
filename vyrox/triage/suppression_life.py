"""How suppressions begin, are confirmed, and end (contract 56).

All changes of one tenant's suppressions wait for each other, and for the tenant's verdicts.
"""

import secrets
import unicodedata
from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import storable
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError, NotPossibleError
from vyrox.store.tables import suppressions
from vyrox.triage import rows
from vyrox.triage.scope import Scope
from vyrox.triage.suppressions import Suppression, find, living, values_of

DAY_S: Final = 86_400.0

DEFAULT_DAYS: Final = 30
MAX_DAYS: Final = 180

MAX_ACTIVE: Final = 500
"""Suppressions of a tenant that have neither ended nor expired. All are read for each batch."""

MAX_REASON: Final = 1000

Days = Annotated[int, msgspec.Meta(ge=1, le=MAX_DAYS)]

_c: Final = suppressions.c


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
    number = sa.select(sa.func.count()).where(*living(wanted.tenant_id, now))
    if connection.execute(number).scalar_one() >= MAX_ACTIVE:
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
    connection.execute(suppressions.insert().values(values_of(suppression)))
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
    check_second(found, by, now)
    connection.execute(suppressions.update().where(_c.id == suppression_id).values(second=by))
    _append(connection, found, "suppression.confirmed", by, now, request_id)
    return msgspec.structs.replace(found, second=by)


def check_second(found: Suppression, by: str, now: float) -> None:
    """Return if `by` may confirm the suppression. Raises NotPossibleError."""
    state = found.state(now)
    if state != "unconfirmed":
        raise NotPossibleError(f"{found.id} waits for no second person: it is {state}")
    if same_person(by, found.author):
        raise NotPossibleError(f"{found.author} made {found.id}: a second person must confirm it")


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


def _text(text: str, limit: int, what: str) -> str:
    text = storable(text).strip()
    if not text or len(text) > limit:
        raise InvalidRequestError(f"the {what} must be a text of at most {limit} characters")
    return text


def same_person(one: str, other: str) -> bool:
    """Return whether two names are one: without case, spaces and what cannot be seen."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(each for each in folded if each.isprintable() and not each.isspace())
