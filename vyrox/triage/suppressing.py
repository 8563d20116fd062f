"""Makes a suppression from what a person asks for, unless an alert of its kind was malicious."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import is_possible_id, unknown_alert
from vyrox.alerts.intake import storable
from vyrox.alerts.queue import decode_alert
from vyrox.errors import InvalidRequestError, NotPossibleError
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, verdicts
from vyrox.triage import rows, suppression_life, suppressions
from vyrox.triage.fingerprint import MAX_SHAPED
from vyrox.triage.scope import (
    FAMILIES,
    Scope,
    Traits,
    host_key,
    name_key,
    narrowest,
    shape_key,
    shown_shape,
    traits_of,
)
from vyrox.triage.score import Verdict
from vyrox.triage.suppression_life import DAY_S, DEFAULT_DAYS, Wanted
from vyrox.triage.suppressions import Suppression

MAX_MALICIOUS: Final = 5000
"""The newest alerts that people found malicious, of one tenant, which a new suppression may hit."""

MAX_OFFERS: Final = 3

REPEAT_S: Final = 60.0
"""The same person who asks for the same again so soon has pressed a button twice."""

_verdict: Final = msgspec.json.Decoder(Verdict)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for.

    Attributes:
        like: The id of an alert; its narrowest scope is taken, and widened by the other members.
        command: A command line, of which the shape is taken.
        any_host: All hosts of the tenant. Without it, a host is needed.
        any_user: All users, although the alert names one.
    """

    tenant_id: str
    reason: str
    author: str
    like: str | None = None
    command: str | None = None
    program: str | None = None
    families: tuple[str, ...] = ()
    host: str | None = None
    any_host: bool = False
    username: str | None = None
    any_user: bool = False
    days: int = DEFAULT_DAYS


def suppress(
    connection: Connection, asked: Asked, now: float, request_id: str | None = None
) -> Suppression:
    """Make the suppression that is asked for, or return the one that the person has just made.

    Raises:
        InvalidRequestError: It has no scope, or a member is invalid.
        NotFoundError: There is no alert `like`.
        NotPossibleError: A person found such an alert malicious; or there are too many.
    """
    rows.lock(connection, asked.tenant_id)
    wanted = wanted_by(connection, asked)
    alert_id = contradiction(connection, asked.tenant_id, wanted.scope)
    if alert_id is not None:
        raise NotPossibleError(
            f"a person found alert {alert_id} malicious, and it is in this scope; see: "
            f"vyrox alert show {alert_id}"
        )
    earlier = _repeated(connection, wanted, now)
    return earlier or suppression_life.create(connection, wanted, now, request_id)


def _repeated(connection: Connection, wanted: Wanted, now: float) -> Suppression | None:
    """Return the suppression that a person has just made in the same words."""
    asked = (wanted.scope, storable(wanted.author).strip(), storable(wanted.reason).strip())
    for each in suppressions.read_living(connection, wanted.tenant_id, now):
        is_new = now - REPEAT_S < each.created_at <= now
        is_as_long = each.expires_at == each.created_at + wanted.days * DAY_S
        if is_new and is_as_long and (each.scope, each.author, each.reason) == asked:
            return each
    return None


def wanted_by(connection: Connection, asked: Asked) -> Wanted:
    """Return the suppression that is asked for. Raises InvalidRequestError, NotFoundError."""
    command, scope = asked.command, Scope()
    if asked.like is not None:
        if command is not None:
            raise InvalidRequestError("a command line and an alert cannot both be given")
        alert, verdict = read_judged(connection, asked.tenant_id, asked.like)
        if verdict is None:
            raise InvalidRequestError(f"alert {asked.like} has no verdict by triage yet")
        command, scope = alert.process_cmdline, narrowest(alert, verdict)
    elif command is not None:
        scope = Scope(shape=_shape(command))
    if asked.program is not None:
        scope = msgspec.structs.replace(scope, shape=None, program=_name(asked.program))
    scope = msgspec.structs.replace(
        scope,
        families=_families(asked.families) or scope.families,
        host=_host(asked, scope),
        username=_user(asked, scope),
    )
    if not _is_scope(scope):
        raise InvalidRequestError("a suppression needs a command line, a program or a behaviour")
    return Wanted(
        tenant_id=asked.tenant_id,
        scope=scope,
        command=shown_shape(command or "") if scope.shape is not None else None,
        reason=asked.reason,
        author=asked.author,
        days=asked.days,
    )


def read_judged(
    connection: Connection, tenant_id: str | None, alert_id: str
) -> tuple[NormalizedAlert, Verdict | None]:
    """Return an alert with its verdict by triage, if it has one.

    Raises:
        NotFoundError: There is no such alert, or it is another tenant's.
    """
    query = _judged().where(alerts.c.id == alert_id)
    if tenant_id is not None:
        query = query.where(alerts.c.tenant_id == tenant_id)
    row = connection.execute(query).one_or_none() if is_possible_id(alert_id) else None
    if row is None:
        raise unknown_alert(alert_id)
    return decode_alert(row[0]), None if row[1] is None else _verdict.decode(row[1])


def contradiction(connection: Connection, tenant_id: str, scope: Scope) -> str | None:
    """Return an alert of the scope that a person found malicious, or None."""
    c = alerts.c
    query = (
        _judged()
        .where(c.verdict == "malicious", c.tenant_id == tenant_id)
        .order_by(c.received_at.desc())
        .limit(MAX_MALICIOUS)
    )
    for alert, verdict in _read(connection, query):
        if _contradicts(scope, traits_of(alert), {} if verdict is None else verdict.families):
            return alert.id
    return None


def end_contradicted(
    connection: Connection,
    tenant_id: str,
    alert_ids: Iterable[str],
    by: str,
    now: float,
    request_id: str | None = None,
) -> list[Suppression]:
    """End the suppressions whose scope has one of these alerts, which a person found malicious.

    The caller has locked the tenant.
    """
    living = suppressions.read_living(connection, tenant_id, now)
    ended: list[Suppression] = []
    for some in rows.parts(alert_ids) if living else ():
        query = _judged().where(alerts.c.tenant_id == tenant_id, alerts.c.id.in_(some))
        for alert, verdict in _read(connection, query):
            traits = traits_of(alert)
            families = {} if verdict is None else verdict.families
            hit = [each for each in living if _contradicts(each.scope, traits, families)]
            living = [each for each in living if each not in hit]
            why = f"alert {alert.id} was found malicious"
            ended += [
                suppression_life.end(connection, tenant_id, each.id, by, why, now, request_id)
                for each in hit
            ]
    return ended


def end_hiding(
    connection: Connection,
    tenant_id: str,
    incident: int,
    by: str,
    now: float,
    request_id: str | None = None,
) -> None:
    """End the suppressions that have hidden alerts of an incident, which a person found malicious.

    The caller has locked the tenant.
    """
    v = verdicts.c
    query = sa.select(v.suppression).where(
        v.tenant_id == tenant_id, v.incident == incident, v.suppression.is_not(None)
    )
    why = f"it has hidden alerts of incident {tenant_id}-{incident}, which was found malicious"
    for suppression_id in sorted(connection.execute(query.distinct()).scalars()):
        suppression_life.end(connection, tenant_id, suppression_id, by, why, now, request_id)


def offers(connection: Connection, alert_ids: Sequence[str]) -> list[str]:
    """Return commands that would suppress these alerts, which a person found benign.

    One for each scope, at most MAX_OFFERS. An alert that no suppression can take in, or that one
    has hidden already, adds no command.
    """
    found: dict[tuple[str, Scope], str] = {}
    for some in rows.parts(alert_ids):
        for alert, verdict in _read(connection, _judged().where(alerts.c.id.in_(some))):
            if verdict is None or verdict.suppression is not None:
                continue
            scope = narrowest(alert, verdict)
            if not _is_scope(scope):
                continue
            host = "" if scope.host is not None else " --any-host"
            command = f"vyrox triage suppress {alert.tenant_id} --like {alert.id}{host}"
            found.setdefault((alert.tenant_id, scope), f"{command} --reason REASON")
    return list(found.values())[:MAX_OFFERS]


def _contradicts(scope: Scope, traits: Traits, families: Mapping[str, float]) -> bool:
    """Return whether a malicious alert ends a suppression: one shape on any host, or its scope."""
    if scope.shape is not None:
        return scope.shape == traits.shape
    return scope.takes_in(traits) and scope.covers(families)


def _is_scope(scope: Scope) -> bool:
    return bool(scope.shape or scope.program or scope.behaviour)


def _judged() -> sa.Select[Any]:
    joined = alerts.outerjoin(verdicts, verdicts.c.alert_id == alerts.c.id)
    return sa.select(alerts.c.alert, verdicts.c.verdict).select_from(joined)


def _read(
    connection: Connection, query: sa.Select[Any]
) -> Iterable[tuple[NormalizedAlert, Verdict | None]]:
    for alert, verdict in connection.execute(query).all():
        yield decode_alert(alert), None if verdict is None else _verdict.decode(verdict)


def _shape(command: str) -> str:
    shape = shape_key(command)
    if shape is None:
        raise InvalidRequestError(f"the command line must have 1 to {MAX_SHAPED} characters")
    return shape


def _name(text: str) -> str:
    name = name_key(text)
    if name is None:
        raise InvalidRequestError("a program and a user must be names")
    return name


def _host(asked: Asked, scope: Scope) -> str | None:
    if asked.any_host:
        if asked.host is not None:
            raise InvalidRequestError("one host and any host cannot both be given")
        return None
    host = scope.host if asked.host is None else host_key(asked.host)
    if host is None:
        raise InvalidRequestError(
            "name a host with --host, or say with --any-host that it is for all"
        )
    return host


def _user(asked: Asked, scope: Scope) -> str | None:
    if asked.any_user:
        if asked.username is not None:
            raise InvalidRequestError("one user and any user cannot both be given")
        return None
    return scope.username if asked.username is None else _name(asked.username)


def _families(names: Iterable[str]) -> tuple[str, ...]:
    for name in names:
        if name not in FAMILIES:
            near = get_close_matches(name.lower(), FAMILIES, n=1)
            hint = f"; did you mean {near[0]}?" if near else f": {', '.join(FAMILIES)}"
            raise InvalidRequestError(f"there is no family {name[:64]}{hint}")
    return tuple(sorted(set(names)))
