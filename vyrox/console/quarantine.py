"""Quarantined payloads: why each fits no alert, and what can be done about it (contract 79)."""

from functools import partial
from typing import Final, get_args

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.alerts.quarantine_review import (
    Quarantined,
    dismiss,
    list_payloads,
    read_quarantined,
    tenant_of_payload,
)
from vyrox.alerts.replaying import replay_payload
from vyrox.alerts.waiting_lists import find_quarantined
from vyrox.console.alerts import one_of, place_of
from vyrox.console.pages import page
from vyrox.console.paging import PAGE_ROWS, cursor, here_with
from vyrox.console.parts import acts, console_of, done, sees, signed_in, tenants_of
from vyrox.console.raw import MAX_SHOWN_BYTES, as_file, shown_raw
from vyrox.console.sessions import Person
from vyrox.errors import NormalizationError, NotFoundError, NotPossibleError, OperatorError
from vyrox.models import Tenant, Vendor
from vyrox.store.newest import Found, Place
from vyrox.tenants import records
from vyrox.tenants.mapping import Given, Mapped, mapped, parts_of
from vyrox.tenants.payloads import GZIP, read_kept

MAX_PROBED_BYTES: Final = 200_000
"""Bytes of JSON that are read to find the sources of fields, about: a page must not take long."""

MAX_READ_BYTES: Final = 65_536
"""A larger payload is not read for its page."""

MAX_PARTS: Final = 5
"""Elements of a payload of which a page shows the reading."""

_STATES: Final = ("waiting", "all")


async def quarantine_page(request: Request) -> Response:
    """Show the payloads that fit no alert, newest first.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: The person may not see the tenant, or the place is not valid.
        InvalidRequestError: A filter is not valid; the text says which.
    """
    person = await signed_in(request)
    console = console_of(request)
    asked = request.query_params
    source = one_of(asked, "source", get_args(Vendor))
    state = one_of(asked, "state", _STATES) or "waiting"
    before = place_of(asked)
    find = partial(_find, everything=state == "all")
    found, rows = await console.database.read(find, tenants_of(request, person), source, before)
    return page(
        "quarantine",
        person,
        console.now(),
        asked={"tenant": asked.get("tenant", ""), "source": source or "", "state": state},
        rows=rows,
        found=found,
        older=None if found.older is None else here_with(request, before=cursor(*found.older)),
        newer=here_with(request, before=None) if before else None,
        sources=get_args(Vendor),
    )


def _find(
    connection: Connection,
    tenant_ids: tuple[str, ...],
    source: Vendor | None,
    before: Place | None,
    *,
    everything: bool,
) -> tuple[Found, list[Quarantined]]:
    found = find_quarantined(
        connection, tenant_ids, source, before, PAGE_ROWS, everything=everything
    )
    return found, list_payloads(connection, found.ids)


async def payload_page(request: Request) -> Response:
    """Show one payload, and what reading it finds. Raises as `_seen`."""
    person = await signed_in(request)
    console = console_of(request)
    tenant_id, quarantine_id = await _seen(request, person)
    row, raw, tenant = await console.database.read(_read, tenant_id, quarantine_id)
    given = Given(raw, row.source, tenant, row.first_received_at)
    readings, left_out = ([], 0) if row.only_counted else _readings(given)
    return page(
        "payload",
        person,
        console.now(),
        row=row,
        raw=shown_raw(raw[:MAX_SHOWN_BYTES], len(raw)),
        is_gzip=raw.startswith(GZIP),
        readings=readings,
        left_out=left_out,
        is_large=len(raw) > MAX_READ_BYTES,
        can_act=tenant_id in person.acts_for,
    )


async def payload_raw(request: Request) -> Response:
    """Return the body as received, as a file. Raises as `_seen`."""
    person = await signed_in(request)
    tenant_id, quarantine_id = await _seen(request, person)
    _, raw, _ = await console_of(request).database.read(_read, tenant_id, quarantine_id)
    return as_file(raw, f"quarantine-{quarantine_id}")


async def replay(request: Request) -> Response:
    """Try a payload again, as `vyrox queue quarantine replay` does.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: The person may not see the payload, or it does not exist.
        NotPossibleError: The person only looks, or the body was not kept.
    """
    person = await signed_in(request)
    console = console_of(request)
    tenant_id, quarantine_id = await _seen(request, person)
    acts(person, tenant_id)
    try:
        replayed = await replay_payload(
            console.database,
            console.queue,
            read_kept,
            tenant_id,
            quarantine_id,
            console.now(),
            person.approver,
        )
    except OperatorError as exc:
        raise NotPossibleError(str(exc)) from exc
    word = {"queued": "replayed", "stored": "replay_stored", "refused": "replay_refused"}
    path = (
        f"/quarantine/{quarantine_id}"
        if replayed.alert_id is None
        else f"/alerts/{replayed.alert_id}"
    )
    return done(path, word[replayed.status])


async def dismiss_payload(request: Request) -> Response:
    """Mark a payload as not worth a replay. Raises as `replay`."""
    person = await signed_in(request)
    console = console_of(request)
    tenant_id, quarantine_id = await _seen(request, person)
    acts(person, tenant_id)
    try:
        await console.database.write(
            dismiss, tenant_id, [quarantine_id], console.now(), person.approver
        )
    except OperatorError as exc:  # retention has just deleted it
        raise NotFoundError(str(exc)) from exc
    return done("/quarantine", "dismissed")


async def _seen(request: Request, person: Person) -> tuple[str, str]:
    """Return the tenant and the id of the payload in the path.

    Raises:
        NotFoundError: The person may not see it, or it does not exist.
    """
    quarantine_id = request.path_params["quarantine_id"]
    tenant_id = await console_of(request).database.read(tenant_of_payload, quarantine_id)
    sees(person, tenant_id)
    return tenant_id, quarantine_id


def _read(
    connection: Connection, tenant_id: str, quarantine_id: str
) -> tuple[Quarantined, bytes, Tenant]:
    rows = list_payloads(connection, [quarantine_id])
    if not rows:  # retention has just deleted it
        raise NotFoundError("no such payload")
    row = rows[0]
    raw = b"" if row.only_counted else read_quarantined(connection, tenant_id, quarantine_id)[1]
    field_map = records.field_map_of(connection, tenant_id, row.source)
    return row, raw, Tenant(tenant_id, field_map)


def _readings(given: Given) -> tuple[list[Mapped], int]:
    """Return what the first elements become, and how many there are beside them."""
    if len(given.body) > MAX_READ_BYTES:
        return [], 0
    try:
        parts = parts_of(given)
    except NormalizationError as exc:
        return [Mapped("refused", reason=str(exc), documented=False)], 0
    shown = [each for each in parts[:MAX_PARTS] if len(each.content) <= MAX_READ_BYTES]
    # Each value is tried up to three times, and each time all of the element is read.
    size = sum(len(each.content) for each in shown) or 1
    most = MAX_PROBED_BYTES // (3 * size)
    return [mapped(each, given, most) for each in shown], len(parts) - len(shown)
