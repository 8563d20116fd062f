"""The alerts: searched, and each with its verdict, its body and its history (contract 79)."""

import logging
from datetime import UTC, datetime
from typing import Final, Literal, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from vyrox import log
from vyrox.alerts.alert_events import AlertEvent, read_events
from vyrox.alerts.found_rows import FoundRow, read_found, read_raw, tenant_of_alert
from vyrox.alerts.listing import ShownAlert, show_alert
from vyrox.alerts.searching import AlertSearch, FoundAlerts, Text, search_alerts, text_of
from vyrox.alerts.verdict import MAX_NOTE, Decision
from vyrox.console.marking import forms_of
from vyrox.console.pages import page
from vyrox.console.paging import PAGE_ROWS, cursor, here_with, parse_cursor
from vyrox.console.parts import acts, console_of, done, read_form, sees, signed_in, tenants_of
from vyrox.console.raw import MAX_SHOWN_BYTES, ShownRaw, as_file, shown_raw
from vyrox.console.sessions import Person
from vyrox.errors import InvalidRequestError, NotFoundError, UnavailableError
from vyrox.http.application import request_id_of
from vyrox.models import PersonVerdict, Vendor
from vyrox.store.newest import Place
from vyrox.store.tables import verdicts
from vyrox.triage.decisions import decide_alerts
from vyrox.triage.explaining import groups, read_verdict

Band = Literal["urgent", "review", "close", "none"]

_TEXTS: Final = {
    "host": "hostname",
    "user": "username",
    "hash": "sha256",
    "technique": "technique",
    "id": "alert_id",
    "vendor_id": "raw_id",
}
"""The field of a search that each field of the form is about."""

_v: Final = verdicts.c

_TIMES: Final = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")


async def alerts_page(request: Request) -> Response:
    """Show the alerts that a search finds, newest first.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: The person may not see the tenant, or the place is not valid.
        InvalidRequestError: A filter is not valid; the text says which.
        NotPossibleError: The beginning of an id is too short.
    """
    person = await signed_in(request)
    console = console_of(request)
    asked = request.query_params
    search = _search(tenants_of(request, person), asked)
    before = place_of(asked)
    found, rows = await console.database.read(_find, search, before)
    return page(
        "alerts",
        person,
        console.now(),
        asked={name: asked.get(name, "") for name in (*_TEXTS, *_NARROWING)},
        is_narrowed=any(asked.get(name) for name in (*_TEXTS, *_NARROWING)),
        rows=rows,
        found=found,
        older=None if found.older is None else here_with(request, before=cursor(*found.older)),
        newer=here_with(request, before=None) if before else None,
        sources=get_args(Vendor),
        bands=get_args(Band),
    )


_NARROWING: Final = ("tenant", "source", "band", "since", "until")


def place_of(asked: QueryParams) -> Place | None:
    """Return the place in a list by time from which the page goes on, or None.

    Raises:
        NotFoundError: It is not such a place.
    """
    found = parse_cursor(asked.get("before"))
    if found is None:
        return None
    at, row_id = found
    if isinstance(at, str):
        raise NotFoundError("not a place in a list by time")
    return at, row_id


def one_of(asked: QueryParams, name: str, known: tuple[str, ...]) -> str | None:
    """Return a filter that is a choice, or None.

    Raises:
        InvalidRequestError: It is not one of those that are known.
    """
    value = asked.get(name) or None
    if value is not None and value not in known:
        raise InvalidRequestError(f"{name} must be one of: {', '.join(known)}")
    return value


def _search(tenant_ids: tuple[str, ...], asked: QueryParams) -> AlertSearch:
    texts: dict[str, Text | None] = {}
    for name, field in _TEXTS.items():
        texts[field] = text_of(asked.get(name, ""))
        if texts[field] is None and asked.get(name, "").strip():
            raise InvalidRequestError(f"{name} names nothing that can be found")
    return AlertSearch(
        tenant_ids=tenant_ids,
        source=one_of(asked, "source", get_args(Vendor)),  # type: ignore[arg-type]
        band=one_of(asked, "band", get_args(Band)),  # type: ignore[arg-type]
        since=_time(asked, "since"),
        until=_time(asked, "until"),
        **texts,
    )


def _time(asked: QueryParams, name: str) -> float | None:
    text = asked.get(name, "").strip()
    for form in _TIMES if text else ():
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    if text:
        raise InvalidRequestError(f"{name} must be a time in UTC, such as 2026-11-29T02:00")
    return None


def _find(
    connection: Connection, search: AlertSearch, before: Place | None
) -> tuple[FoundAlerts, list[FoundRow]]:
    found = search_alerts(connection, search, before, PAGE_ROWS)
    return found, read_found(connection, found.ids)


async def alert_page(request: Request) -> Response:
    """Show everything about one alert. Raises as `_seen`."""
    person = await signed_in(request)
    console = console_of(request)
    tenant_id, alert_id = await _seen(request, person)
    alert = await show_alert(console.database, console.entries.taken, tenant_id, alert_id)
    events, raw, host = await console.database.read(_more, tenant_id, alert_id)
    verdict = None if alert.triage is None else read_verdict(alert.triage)
    return page(
        "alert",
        person,
        console.now(),
        alert=alert,
        facts=_facts(alert),
        verdict=verdict,
        families=[] if verdict is None else groups(verdict),
        forms=forms_of(alert.process_cmdline, () if verdict is None else verdict.reasons),
        host=host,
        events=events,
        raw=raw,
        can_act=tenant_id in person.acts_for,
        verdicts=get_args(PersonVerdict),
        max_note=MAX_NOTE,
    )


async def alert_raw(request: Request) -> Response:
    """Return the body as received, as a file. Raises as `_seen`."""
    person = await signed_in(request)
    _, alert_id = await _seen(request, person)
    raw, _ = await console_of(request).database.read(read_raw, alert_id, None)
    return as_file(raw, f"alert-{alert_id}")


async def give_verdict(request: Request) -> Response:
    """Record a person's verdict, as `vyrox alert finish` does.

    Raises:
        UnauthorizedError: No person has signed in.
        NotFoundError: The person may not see the alert, or it does not exist.
        NotPossibleError: The person only looks.
        InvalidRequestError: The form is not valid.
    """
    person = await signed_in(request)
    console = console_of(request)
    tenant_id, alert_id = await _seen(request, person)
    acts(person, tenant_id)
    form = await read_form(request)
    try:
        asked = msgspec.convert(form, _Verdict)
    except ValueError as exc:
        raise InvalidRequestError(
            f"choose a verdict; a note has at most {MAX_NOTE} characters"
        ) from exc
    if len(asked.note) > MAX_NOTE:
        raise InvalidRequestError(f"a note has at most {MAX_NOTE} characters")
    note = asked.note.strip() or None
    decision = Decision(tenant_id, (alert_id,), asked.verdict, person.approver, note)
    await console.database.write(decide_alerts, decision, console.now(), request_id_of(request))
    try:
        await console.entries.remove([(tenant_id, alert_id)])
    except UnavailableError as exc:
        # The next consumer skips the alert and removes the entry.
        log.event("alert.entry_left", logging.WARNING, alert=alert_id, reason=str(exc))
    return done(f"/alerts/{alert_id}", "verdict")


class _Verdict(msgspec.Struct, frozen=True):
    verdict: PersonVerdict
    note: str = ""


async def _seen(request: Request, person: Person) -> tuple[str, str]:
    """Return the tenant and the id of the alert in the path.

    Raises:
        NotFoundError: The person may not see the alert, or it does not exist.
    """
    alert_id = request.path_params["alert_id"]
    tenant_id = await console_of(request).database.read(tenant_of_alert, alert_id)
    sees(person, tenant_id)
    return tenant_id, alert_id


def _more(
    connection: Connection, tenant_id: str, alert_id: str
) -> tuple[list[AlertEvent], ShownRaw, int | None]:
    """Return the alert's events, its body, and the number of its host if that is certain."""
    raw, size = read_raw(connection, alert_id, MAX_SHOWN_BYTES)
    host = connection.execute(sa.select(_v.host).where(_v.alert_id == alert_id)).scalar()
    return read_events(connection, tenant_id, alert_id), shown_raw(raw, size), host


def _facts(alert: ShownAlert) -> list[tuple[str, str]]:
    """Return what the alert says, each with its name, in the order in which people ask."""
    named = (
        ("Device id at the vendor", alert.device_id),
        ("User", alert.username),
        ("Program", alert.process_name),
        ("SHA-256", alert.sha256),
        ("Tactic", alert.tactic),
        ("Severity", alert.vendor_severity or alert.severity),
        ("Process id", alert.process_id),
        ("Process id at the vendor", alert.vendor_process_id),
        ("From", alert.source),
        ("Vendor's id", alert.raw_id),
        ("Vendor's group", alert.vendor_group),
    )
    return [(name, value) for name, value in named if value]
