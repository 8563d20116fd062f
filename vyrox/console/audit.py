"""The audit log of a tenant, in plain words (contract 80)."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals.rows import StoredDecision, decisions_on
from vyrox.chain.archived import archived_up_to
from vyrox.chain.entry import SERVICE, Scalar, Stream
from vyrox.chain.reading import END, STREAMS, Asked, Found, Listed, Place, find_entry, list_entries
from vyrox.console.audit_subjects import Subject, read_subjects
from vyrox.console.audit_words import KIND_NAMES, sentence_of
from vyrox.console.pages import page
from vyrox.console.paging import PAGE_ROWS, cursor, here_with, parse_cursor
from vyrox.console.parts import console_of, sees, signed_in
from vyrox.console.sessions import Person
from vyrox.errors import InvalidRequestError, NotFoundError
from vyrox.store.tables import action_results
from vyrox.triage.known_host import find_device_ids

REFUSED: Final = "refused"
"""In place of a stream: requests without a valid credential, which named the tenant.

They are in the service's own chain (contract 47), of which a person sees only these.
"""

MAX_IDS: Final = 2
"""Ids of a host that are searched as well as its name."""

MAX_FILTER: Final = 256
"""Characters of a value that a person searches."""

ACTION_KINDS: Final = (
    "HOST_ISOLATION",
    "NETWORK_QUARANTINE",
    "PROCESS_KILL",
    "LIFT_HOST_ISOLATION",
    "LIFT_NETWORK_QUARANTINE",
)

PATHS: Final = {
    "proposal_id": "/approvals/",
    "incident": "/incidents/",
    "into": "/incidents/",
    "alert_id": "/alerts/",
    "break_glass_id": "/break-glass/",
    "change_id": "/changes/",
}
"""Where the page is that shows what a member names."""

_r: Final = action_results.c


class Proof(msgspec.Struct, frozen=True):
    """By what authority an action was done.

    Attributes:
        words: In plain words.
        path: The page that shows it, or None.
        is_proven: Whether people have approved exactly this.
        outcome: What became of the action; None: not known yet.
    """

    words: str
    path: str | None = None
    is_proven: bool = False
    outcome: str | None = None


class Line(msgspec.Struct, frozen=True):
    """One entry as the page shows it."""

    found: Found
    sentence: str
    proof: Proof | None
    subject: Subject | None

    @property
    def path(self) -> str | None:
        """Its own page; None for one of the service's own chain."""
        if self.found.tenant_id == SERVICE:
            return None
        return f"/audit/{self.found.tenant_id}/{self.found.stream}/{self.found.sequence}"


async def audit_page(request: Request) -> Response:
    """Show the entries and events of one tenant, the newest first.

    Raises:
        NotFoundError: Another person's tenant, or no place in the list.
        InvalidRequestError: A filter that cannot be.
    """
    person = await signed_in(request)
    console = console_of(request)
    asked = asked_of(request, person)
    listed, lines = await console.database.read(_read, asked, _place_of(request))
    archived = await console.database.read(archived_up_to, asked.tenant_id)
    older = None if listed.older is None else here_with(request, after=_cursor(listed.older))
    newest = here_with(request, after=None) if "after" in request.query_params else None
    return page(
        "audit",
        person,
        console.now(),
        lines=lines,
        asked=asked,
        tenant_id=asked.names or asked.tenant_id,
        filters=request.query_params,
        kinds=(*ACTION_KINDS, *KIND_NAMES),
        older=older,
        newest=newest,
        is_cut=listed.is_cut,
        archived=archived,
    )


async def entry_page(request: Request) -> Response:
    """Show one entry. Raises NotFoundError."""
    person = await signed_in(request)
    console = console_of(request)
    tenant_id, stream = request.path_params["tenant_id"], request.path_params["stream"]
    sees(person, tenant_id)
    number = request.path_params["sequence"]
    if stream not in STREAMS or not 0 < number < END:
        raise NotFoundError("no such entry")
    line = await console.database.read(_read_one, tenant_id, cast("Stream", stream), number)
    return page(
        "audit_entry", person, console.now(), line=line, shown=_members_of(line.found), paths=PATHS
    )


def asked_of(request: Request, person: Person) -> Asked:
    """Return which entries the address asks for.

    Raises:
        NotFoundError: The person may not see the tenant.
        InvalidRequestError: A filter that cannot be.
    """
    query = request.query_params
    tenant_id = query.get("tenant") or person.tenant_id
    sees(person, tenant_id)
    stream = query.get("stream") or None
    if stream is not None and stream not in (*STREAMS, REFUSED):
        raise InvalidRequestError("stream is actions, events or refused")
    until = _day(query.get("until"), "until")
    kind, text = (_text(query.get(name), name) for name in ("kind", "text"))
    asked = Asked(
        tenant_id=tenant_id,
        stream=None if stream == REFUSED else cast("Stream | None", stream),
        kind=kind,
        since=_timestamp(_day(query.get("since"), "since")),
        until=_timestamp(None if until is None else until + timedelta(days=1)),
        text=text,
    )
    if stream == REFUSED:
        return msgspec.structs.replace(asked, tenant_id=SERVICE, stream="events", names=tenant_id)
    return asked


def _text(value: str | None, name: str) -> str | None:
    if value and (len(value) > MAX_FILTER or "\0" in value or not _is_utf8(value)):
        raise InvalidRequestError(f"{name} has at most {MAX_FILTER} characters of text")
    return value or None


def _is_utf8(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)


def _day(value: str | None, name: str) -> datetime | None:
    if not value:
        return None
    try:
        found = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as exc:
        raise InvalidRequestError(f"{name} is a day, such as 2026-01-31") from exc
    if not 1970 <= found.year < 9999:
        raise InvalidRequestError(f"{name} is a day from 1970 on")
    return found


def _timestamp(day: datetime | None) -> float | None:
    return None if day is None else day.timestamp()


def _place_of(request: Request) -> Place | None:
    found = parse_cursor(request.query_params.get("after"))
    if found is None:
        return None
    actions, events = found
    is_place = isinstance(actions, float | int) and 0 <= actions <= END
    if not is_place or not events.isdecimal() or len(events) > 18:
        raise NotFoundError("not a place in this list")
    return {"actions": int(actions), "events": int(events)}


def _cursor(place: Place) -> str:
    return cursor(place.get("actions", 0), str(min(place.get("events", 0), 10**18 - 1)))


def _read(connection: Connection, asked: Asked, place: Place | None) -> tuple[Listed, list[Line]]:
    if asked.text is not None and not asked.text.isdecimal():
        ids = find_device_ids(connection, asked.tenant_id, asked.text, MAX_IDS)
        # Vendors write an id with dashes, and without.
        also = tuple(dict.fromkeys(form for each in ids for form in (each, each.replace("-", ""))))
        asked = msgspec.structs.replace(asked, also=also)
    listed = list_entries(connection, asked, place, PAGE_ROWS)
    return listed, _lines(connection, asked.tenant_id, listed.entries)


def _read_one(connection: Connection, tenant_id: str, stream: Stream, number: int) -> Line:
    found = find_entry(connection, tenant_id, stream, number)
    if found is None:
        raise NotFoundError("no such entry")
    [line] = _lines(connection, tenant_id, [found])
    return line


def _lines(connection: Connection, tenant_id: str, entries: Sequence[Found]) -> list[Line]:
    proofs = _proofs(connection, tenant_id, entries)
    subjects = read_subjects(connection, tenant_id, entries)
    return [
        Line(each, sentence_of(each), proofs.get(each.hash), subjects.get(each.hash))
        for each in entries
    ]


def _proofs(connection: Connection, tenant_id: str, entries: Iterable[Found]) -> dict[str, Proof]:
    actions = {each.hash: each for each in entries if each.stream == "actions"}
    query = sa.select(_r.entry_hash, _r.outcome, _r.authority).where(
        _r.tenant_id == tenant_id, _r.entry_hash.in_(list(actions))
    )
    known = {row.entry_hash: row for row in connection.execute(query)} if actions else {}
    found: dict[str, Proof] = {}
    for entry_hash, action in actions.items():
        row = known.get(entry_hash)
        kind, _, name = ((row and row.authority) or "").partition(":")
        proof = _proof(connection, kind, name, action.members)
        outcome = (row and row.outcome) or None
        found[entry_hash] = msgspec.structs.replace(proof, outcome=outcome)
    return found


def _proof(connection: Connection, kind: str, name: str, members: dict[str, Scalar]) -> Proof:
    by = str(members.get("approved_by", "?"))
    match kind:
        case "proposal":
            means = ", ".join(_means(each) for each in decisions_on(connection, name))
            return Proof(f"Approved by {means}", f"/approvals/{name}", is_proven=True)
        case "lease":
            return Proof("Approved with the containment whose time was over", f"/approvals/{name}")
        case "break_glass":
            return Proof("Without an approval: break glass", f"/break-glass/{name}")
        case _:
            return Proof(f"No approval is recorded. The caller named: {by}")


def _means(decision: StoredDecision) -> str:
    means = "Discord" if decision.proof == "discord" else "passkey"
    return f"{decision.approver} ({means})"


def _members_of(found: Found) -> list[tuple[str, str]]:
    """Return the members of an entry as texts, those that every entry has last."""
    last = ("request_id", "tenant_id", "previous_hash", "hash")
    members = {name: value for name, value in found.members.items() if name not in last}
    members |= {name: found.members[name] for name in last if name in found.members}
    return [(name, _value(value)) for name, value in members.items() if value is not None]


def _value(value: Scalar) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
